/** The gateway process: started as a user of its own, found again by a later huskd, replaced when it does not answer. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, chown, mkdir, open, readFile, rm, truncate } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { sleep } from '../base/deadline.ts';
import { HuskError, isErrno } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { GatewayClient, type VersionResponse } from '../gen/gateway/v1/gateway.ts';
import { protocolVersion } from './protocol.ts';

/** A gateway that is up answers in a millisecond; this is for one that a machine under load starves. */
const probeMs = 10_000;
const probeTurnMs = 500;
const startMs = 20_000;
const pollMs = 20;
const killAfterMs = 2_000;
/** A log of the gateway's own that has grown beyond this is emptied when huskd starts. */
const maxLogBytes = 8 * 1024 * 1024;
/** More would be a leak: the heap that one chunk per stream and a few large execs need. */
const heapMegabytes = 512;
/** Private memory: the heap, buffers outside it (ExecSync above all), stacks and slack. */
const dataBytes = 3 * 1024 ** 3;
/** A few descriptors for each pod, and one for each stream of a client. */
const maxFiles = 4_096;
/** A Node has about a dozen threads. */
const maxThreads = 512;

export interface GatewayProcessOptions {
  /** Folder of the gateway's own, made if it is not there. Its parents must be passable for the user. */
  readonly folder: string;
  /** Who it runs as. Absent: whoever this process runs as, for tests. */
  readonly user?: { readonly uid: number; readonly gid: number } | undefined;
  /** The Node to run it with, and the program: src/gateway/main.ts, or what it was bundled into. Both readable by the user. */
  readonly nodePath: string;
  readonly program: string;
  /** JSON for its standard input; a gateway that was started with another one is replaced. */
  readonly settings: string;
  readonly log: Log;
}

interface PidRecord {
  readonly pid: number;
  /** Start time in clock ticks since boot: a pid that was given to somebody else has another one. */
  readonly startTicks: string;
}

/** One gateway process and the files around it. */
export class GatewayProcess {
  readonly #options: GatewayProcessOptions;
  readonly #runFolder: string;
  readonly #pidFile: string;

  constructor(options: GatewayProcessOptions) {
    this.#options = options;
    // The gateway may write into its run folder; the record of its pid must be out of its reach.
    this.#runFolder = join(options.folder, 'run');
    this.#pidFile = join(options.folder, 'pid.json');
  }

  /** Where it listens: in a folder that only root and the gateway may enter. */
  get socket(): string {
    return join(this.#runFolder, 'gateway.sock');
  }

  /** The pid of the process, if it lives. */
  async pid(): Promise<number | undefined> {
    const record = await this.#readPid();
    return record !== undefined && (await startTicksOf(record.pid)) === record.startTicks ? record.pid : undefined;
  }

  /**
   * Leaves one that answers and speaks our version alone; otherwise ends what is there and starts a new one.
   * @throws HuskError `unavailable` when the new one does not come up
   */
  async ensure(signal?: AbortSignal): Promise<VersionResponse> {
    const found = await this.#find(probeMs);
    const digest = createHash('sha256').update(this.#options.settings).digest('hex');
    if (found?.protocol === protocolVersion && found.settingsDigest === digest) return found;
    await this.stop();
    await this.#start();
    const deadline = performance.now() + startMs;
    while (performance.now() < deadline) {
      const answer = await this.#find(deadline - performance.now());
      if (answer !== undefined) return answer;
      if ((await this.pid()) === undefined) break;
      await sleep(pollMs, signal);
    }
    throw new HuskError('unavailable', `start of the gateway in "${this.#options.folder}": it does not answer`, {
      stage: 'gateway',
      hint: `look at "${join(this.#options.folder, 'gateway.log')}"`,
    });
  }

  /** Ends the process, if it lives, and waits until it has. */
  async stop(): Promise<void> {
    const pid = await this.pid();
    if (pid !== undefined) {
      kill(pid, 'SIGTERM');
      const deadline = performance.now() + killAfterMs;
      while ((await this.pid()) !== undefined) {
        if (performance.now() > deadline) kill(pid, 'SIGKILL');
        await sleep(pollMs);
      }
    }
    await rm(this.#pidFile, { force: true });
    await rm(this.socket, { force: true });
  }

  async #start(): Promise<void> {
    const { folder, user, nodePath, program, settings, log } = this.#options;
    await mkdir(folder, { recursive: true, mode: 0o711 });
    await mkdir(this.#runFolder, { recursive: true, mode: 0o700 });
    await chmod(this.#runFolder, 0o700);
    if (user !== undefined) await chown(this.#runFolder, user.uid, user.gid);
    const node = [
      nodePath,
      `--max-old-space-size=${heapMegabytes}`,
      '--disallow-code-generation-from-strings',
      program,
      '--socket',
      this.socket,
    ];
    const argv = [...limitResources(user !== undefined), ...(user === undefined ? [] : dropPrivileges(user)), ...node];
    const logPath = join(folder, 'gateway.log');
    await using logFile = await open(logPath, 'a', 0o600);
    if ((await logFile.stat()).size > maxLogBytes) await truncate(logPath);
    const child = spawn(argv[0] as string, argv.slice(1), {
      cwd: '/',
      env: {},
      detached: true,
      stdio: ['pipe', 'ignore', logFile.fd],
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    child.once('spawn', resolve).once('error', reject);
    await promise.catch((caught: unknown) => {
      throw new HuskError('unavailable', `start "${argv[0]}": ${String(caught)}`, { cause: caught, stage: 'gateway' });
    });
    // Its death before it has read them is found by the wait for its answer.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(settings);
    child.unref();
    const pid = child.pid ?? 0;
    // prlimit and setpriv become Node by exec: pid and start time stay the same.
    const record: PidRecord = { pid, startTicks: (await startTicksOf(pid)) ?? '' };
    await writeFileAtomic(this.#pidFile, JSON.stringify(record), 0o600);
    log.info({ pid }, 'gateway started');
  }

  async #readPid(): Promise<PidRecord | undefined> {
    const text = await readFile(this.#pidFile, 'utf8').catch(() => '{}');
    const value: unknown = parseJson(text);
    if (typeof value !== 'object' || value === null || !('pid' in value) || !('startTicks' in value)) return undefined;
    const { pid, startTicks } = value;
    return typeof pid === 'number' && pid > 1 && typeof startTicks === 'string' ? { pid, startTicks } : undefined;
  }

  /**
   * The answer of whoever listens. Asked in short turns: one that is being killed still takes
   * connections for a moment, and who waited on such a one would wait for nobody.
   */
  async #find(timeoutMs: number): Promise<VersionResponse | undefined> {
    const deadline = performance.now() + timeoutMs;
    do {
      if (!(await isListening(this.socket))) return undefined;
      const answer = await this.#probe(probeTurnMs);
      if (answer !== undefined) return answer;
    } while (performance.now() < deadline);
    return undefined;
  }

  async #probe(timeoutMs: number): Promise<VersionResponse | undefined> {
    const client = new GatewayClient(`unix:${this.socket}`, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
    });
    const { promise, resolve } = Promise.withResolvers<VersionResponse | undefined>();
    client.waitForReady(Date.now() + timeoutMs, (notReady) => {
      if (notReady !== undefined) return resolve(undefined);
      client.makeUnaryRequest(
        GatewayClient.service.version.path,
        GatewayClient.service.version.requestSerialize,
        GatewayClient.service.version.responseDeserialize,
        {},
        (error, answer) => resolve(error === null ? answer : undefined),
      );
      return undefined;
    });
    const timer = setTimeout(() => resolve(undefined), 2 * timeoutMs);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      client.close();
    }
  }
}

/**
 * What a gateway that was taken over may use up. Its threads are counted with all of its uid: gateways of other
 * daemons on the machine too. Without a user of its own they would be everybody's, and are not limited.
 */
function limitResources(ownUser: boolean): string[] {
  const limits = ['--core=0', `--nofile=${maxFiles}`, `--data=${dataBytes}`];
  return ['/usr/bin/prlimit', ...limits, ...(ownUser ? [`--nproc=${maxThreads}`] : []), '--'];
}

/** No capabilities, none to be had again, no groups, an empty environment. */
function dropPrivileges({ uid, gid }: { readonly uid: number; readonly gid: number }): string[] {
  return [
    '/usr/bin/setpriv',
    `--reuid=${uid}`,
    `--regid=${gid}`,
    '--clear-groups',
    '--inh-caps=-all',
    '--ambient-caps=-all',
    '--bounding-set=-all',
    '--no-new-privs',
    '--',
  ];
}

/** Whether somebody listens on the socket: a file alone may be left from a process that was killed. */
async function isListening(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(path);
  socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
  const listening = await promise;
  socket.destroy();
  return listening;
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (caught) {
    if (!isErrno(caught, 'ESRCH')) throw caught;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Field 22 of /proc/PID/stat (proc_pid_stat(5)); undefined when the process is gone or a zombie. */
async function startTicksOf(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
  // The name in parentheses may hold anything: fields are counted from its end.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
}
