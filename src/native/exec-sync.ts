/** ExecSync in a native container: the OCI runtime's `exec`, under a timeout of our own. */
import { spawn } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { HuskError } from '../base/errors.ts';
import type { CgroupPlace } from '../cgroups/trees.ts';
import { execProcess } from '../oci/complete-spec.ts';
import type { OciSpec } from '../oci/runtime-spec.ts';
import type { ExecCommand, ExecSyncResult } from '../pod/pod-runtime.ts';
import type { NativeContext } from './context.ts';
import type { OciCli } from './oci-cli.ts';
import type { ContainerPlaces } from './places.ts';

/** CRI: each stream of ExecSync is cut at 16 MiB. */
const maxOutputBytes = 16 * 1024 * 1024;
/** After the command ended, what it left running may hold its output open; it is not waited for. */
const strayOutputMs = 500;
const maxTimerMs = 2 ** 31 - 1;

export interface ExecWish extends ExecCommand {
  readonly context: NativeContext;
  readonly runtime: OciCli;
  readonly containerId: string;
  readonly places: ContainerPlaces;
  readonly cgroup: CgroupPlace;
  /** Unlike that of any other exec in the container. */
  readonly name: string;
}

/**
 * Runs the command. It has a cgroup of its own, so that a timeout or a cancelled call kills all
 * that it started.
 * @throws HuskError `deadline-exceeded` after it was killed, `cancelled`, or the runtime's complaint
 */
export async function execSync(wish: ExecWish, signal: AbortSignal): Promise<ExecSyncResult> {
  const { context, containerId, places, name } = wish;
  const { cgroups } = context.options;
  const files = { spec: join(places.folder, `${name}.json`), pid: join(places.folder, `${name}.pid`) };
  const child = await cgroups.makeChild(wish.cgroup, containerId, name);
  try {
    const spec = JSON.parse(await readFile(places.spec, 'utf8')) as OciSpec;
    await writeFile(files.spec, JSON.stringify(execProcess(spec, wish.command)), { mode: 0o600 });
    const args = ['exec', '--process', files.spec, '--pid-file', files.pid, '--cgroup', child, containerId];
    const result = await runExec(wish, args, signal);
    if (result.exitCode !== 0 && (await readFile(files.pid, 'latin1').catch(() => '')) === '') {
      throw new HuskError('unknown', `exec in container "${containerId}": ${complaintOf(result.stderr)}`, {
        stage: 'oci-runtime',
      });
    }
    return result;
  } finally {
    for (const path of Object.values(files)) await rm(path, { force: true });
    await cgroups.dropChild(wish.cgroup, containerId, name);
  }
}

async function runExec(wish: ExecWish, args: readonly string[], signal: AbortSignal): Promise<ExecSyncResult> {
  const { runtime, command, timeoutSeconds } = wish;
  const child = spawn(runtime.path, [...runtime.globalArgs, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
  });
  const [stdout, stderr] = [new Output(child.stdout), new Output(child.stderr)];
  const ended = Promise.withResolvers<number>();
  child.once('error', (cause) =>
    ended.reject(new HuskError('failed-precondition', `run "${runtime.path}": ${cause.message}`, { cause })),
  );
  child.once('exit', (code) => ended.resolve(code ?? 137));
  let stop: HuskError | undefined;
  const kill = (why: HuskError): void => {
    stop ??= why;
    void killExec(wish, child.pid).catch((caught: unknown) => ended.reject(caught));
  };
  const onAbort = (): void =>
    kill(new HuskError('cancelled', `exec "${command.join(' ').slice(0, 200)}": cancelled by the caller`));
  const timer =
    timeoutSeconds === 0
      ? undefined
      : setTimeout(() => kill(timeOut(wish)), Math.min(timeoutSeconds * 1000, maxTimerMs));
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    const exitCode = await ended.promise;
    await Promise.all([stdout.end(strayOutputMs), stderr.end(strayOutputMs)]);
    if (stop !== undefined) throw stop;
    return { stdout: stdout.bytes(), stderr: stderr.bytes(), exitCode };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
    stdout.close();
    stderr.close();
  }
}

function timeOut({ command, timeoutSeconds }: ExecWish): HuskError {
  const message = `exec "${command.join(' ').slice(0, 200)}": killed after ${timeoutSeconds} s`;
  return new HuskError('deadline-exceeded', message, { stage: 'exec' });
}

/** First the runtime, so that it starts nothing more, then all that it started. */
async function killExec({ context, cgroup, containerId, name }: ExecWish, pid: number | undefined): Promise<void> {
  const { cgroups } = context.options;
  await cgroups.kill(cgroup, containerId, name);
  try {
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended with its command.
  }
  await cgroups.kill(cgroup, containerId, name);
}

/** The runtime's last line tells what went wrong. */
function complaintOf(stderr: Uint8Array): string {
  const text = Buffer.from(stderr).toString('utf8').trim();
  return text === '' ? 'the OCI runtime failed and did not say why' : text.slice(-800).replaceAll(/\s+/g, ' ');
}

/** What a command writes, up to the limit; the rest is read and dropped, so that the command goes on. */
class Output {
  readonly #stream: Readable;
  readonly #chunks: Buffer[] = [];
  readonly #closed = Promise.withResolvers<void>();
  #left = maxOutputBytes;

  constructor(stream: Readable) {
    this.#stream = stream;
    stream.on('data', (chunk: Buffer) => {
      const kept = chunk.subarray(0, this.#left);
      this.#left -= kept.length;
      if (kept.length > 0) this.#chunks.push(kept);
    });
    stream.once('close', () => this.#closed.resolve());
    // A broken pipe is an end like any other.
    stream.once('error', () => this.#closed.resolve());
  }

  /** Waits for the end of the stream, but not longer than this. */
  async end(ms: number): Promise<void> {
    const timer = setTimeout(() => this.#closed.resolve(), ms);
    await this.#closed.promise;
    clearTimeout(timer);
  }

  close(): void {
    this.#stream.destroy();
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#chunks);
  }
}
