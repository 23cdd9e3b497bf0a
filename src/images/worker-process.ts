import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { StringDecoder } from 'node:string_decoder';
import { HuskError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import {
  type Command,
  errorFromWire,
  type Job,
  maxLineBytes,
  parseEvent,
  type WorkerEvent,
} from './worker/protocol.ts';

/** How workers are run. */
export interface WorkerIdentity {
  /** Nobody else on the node may have this uid. */
  readonly uid: number;
  readonly gid: number;
  /** The Node to run, and the program: src/images/worker/main.ts, or what it was bundled into. Both readable by the uid. */
  readonly nodePath: string;
  readonly program: string;
}

/** V8's heap, in MiB: names of a layer's entries are the most it holds. */
const heapMiB = 512;
/** Bytes of private memory: heap, zstd windows (128 MiB each) and slack. */
const dataBytes = 3 * 1024 ** 3;
const maxFiles = 256;
/** Of all workers of the uid together: each has a dozen threads of Node, and those of its squashfs writers. */
const maxThreads = 2_048;

/** A running worker. */
export class WorkerProcess {
  readonly #child: ChildProcess;
  readonly #log: Log;
  #stderr = '';
  #failure: HuskError | undefined;
  readonly #timer: NodeJS.Timeout;
  /** Settles when the worker and everything it started are gone. Never rejects. */
  readonly gone: Promise<void>;

  /** Starts a worker for a job; events come until `gone` settles. */
  constructor(job: Job, identity: WorkerIdentity, onEvent: (event: WorkerEvent) => void, log: Log) {
    this.#log = log;
    const [file = '', ...args] = workerArgv(job, identity);
    this.#child = spawn(file, args, {
      cwd: '/',
      env: {
        PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
        LC_ALL: 'C',
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.gone = promise;
    this.#timer = setTimeout(
      () => this.#fail(new HuskError('deadline-exceeded', `pull image: still running after ${job.limits.jobMs} ms`)),
      job.limits.jobMs,
    );
    this.#child.on('error', (cause) => {
      this.#failure ??= new HuskError('internal', 'start the image worker: setpriv cannot be run', { cause });
    });
    this.#child.on('close', (code, signal) => {
      clearTimeout(this.#timer);
      if (code !== 0) this.#failure ??= this.#exitError(code, signal);
      resolve();
    });
    this.#child.stdin?.on('error', () => undefined);
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-4000);
    });
    this.#readLines((line) => this.#onLine(line, job, onEvent));
    // The credentials are in here: a pipe, never argv or the environment, which /proc shows.
    this.#child.stdin?.write(`${JSON.stringify(job)}\n`);
  }

  /** Why the worker ended before its time; undefined after a good end. */
  get failure(): HuskError | undefined {
    return this.#failure;
  }

  send(command: Command): void {
    this.#child.stdin?.write(`${JSON.stringify(command)}\n`);
  }

  /** Ends the worker and all it started, at once. */
  kill(): void {
    this.#fail(new HuskError('cancelled', 'pull image: cancelled'));
  }

  #fail(error: HuskError): void {
    this.#failure ??= error;
    // Once it is reaped its pid may be somebody else's.
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const children = this.#child.pid === undefined ? [] : childrenOf(this.#child.pid);
    // The first process of the namespace takes all others with it, and unshare waits for that. Killing
    // unshare instead would rely on a death signal that a hostile worker can switch off.
    for (const pid of children) process.kill(pid, 'SIGKILL');
    if (children.length === 0) this.#child.kill('SIGKILL');
  }

  #onLine(line: string, job: Job, onEvent: (event: WorkerEvent) => void): void {
    try {
      const event = parseEvent(line, job.limits);
      if (event.type === 'error') this.#failure ??= errorFromWire(event.error);
      else onEvent(event);
    } catch (cause) {
      this.#log.error({ cause }, 'the image worker broke the protocol');
      this.#fail(new HuskError('internal', 'read event of the image worker: it breaks the protocol', { cause }));
    }
  }

  #readLines(onLine: (line: string) => void): void {
    const decoder = new StringDecoder('utf8');
    let rest = '';
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      const lines = (rest + decoder.write(chunk)).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) onLine(line);
      if (rest.length > maxLineBytes) {
        rest = '';
        this.#fail(new HuskError('internal', `read event of the image worker: longer than ${maxLineBytes} bytes`));
      }
    });
  }

  #exitError(code: number | null, signal: NodeJS.Signals | null): HuskError {
    const told = this.#stderr.trim().replaceAll(/\s+/g, ' ').slice(-600);
    const end = signal === null ? `exit code ${code}` : signal;
    return new HuskError('internal', `run the image worker: ${end}${told === '' ? '' : `: ${told}`}`, {
      stage: 'image-worker',
    });
  }
}

/** Children of a process of ours that still runs, so that its children's ids cannot have been reused. */
function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/**
 * The command line: no capabilities, no way to gain any, few resources, and a process namespace of
 * its own, so that nothing it started can outlive it and keep its files open. It dies with huskd.
 */
export function workerArgv(job: Job, identity: WorkerIdentity): string[] {
  const fileBytes = Math.max(job.limits.layerBytes, job.limits.unpackedLayerBytes);
  const limits = [
    '--core=0',
    `--nofile=${maxFiles}`,
    `--fsize=${fileBytes}`,
    `--data=${dataBytes}`,
    `--nproc=${maxThreads}`,
  ];
  return [
    ...['setpriv', '--pdeathsig', 'KILL', '--'],
    ...['unshare', '--pid', '--fork', '--kill-child', '--ipc', '--mount', '--mount-proc', '--'],
    // Dropping ids clears the death signal that unshare asked for: asked for again.
    ...dropRights(identity),
    ...['prlimit', ...limits, '--'],
    ...[identity.nodePath, `--max-old-space-size=${heapMiB}`, identity.program],
  ];
}

/** The command line that takes every right away before what follows it is run. */
function dropRights(identity: WorkerIdentity): string[] {
  const ids = ['--reuid', String(identity.uid), '--regid', String(identity.gid), '--clear-groups', '--no-new-privs'];
  const capabilities = ['--bounding-set=-all', '--inh-caps=-all', '--ambient-caps=-all'];
  return ['setpriv', ...ids, ...capabilities, '--pdeathsig', 'KILL', '--'];
}
