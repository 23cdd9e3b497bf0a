/** The OCI runtime's command line: runC, or crun, which takes the same arguments. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { HuskError } from '../../src/base/errors.ts';
import type { OciSpec } from '../../src/oci/runtime-spec.ts';
import { removeCgroup } from './cgroup.ts';
import { openExecFifo } from './exec-fifo.ts';
import type { ExecHelper } from './exec-helper.ts';
import { canJoin, type ExecTarget, type ExecWish } from './exec-request.ts';
import { runTool } from './tool.ts';

/** runC takes about a second under emulation on a busy machine; thirty times that means it is stuck. */
const callMs = 30_000;
const maxComplaint = 800;

export type Stdio = readonly [number | 'ignore', number | 'ignore', number | 'ignore'];

export interface CreateWish {
  /** What lies in the bundle. */
  readonly spec: OciSpec;
  readonly stdio: Stdio;
  /** UNIX socket that the master of the process's terminal is sent to. */
  readonly consoleSocket?: string | undefined;
}

/**
 * Each call names a file for the runtime's log, since what goes wrong is told there alone: its
 * standard error is the container's.
 */
export interface OciRuntime {
  /** Creates the container of the bundle's spec. Its first process waits for `start`. */
  create(id: string, bundle: string, wish: CreateWish): Promise<ExecTarget>;
  /** @param ended resolves when the container's first process has ended */
  start(id: string, bundle: string, ended: Promise<void>): Promise<void>;
  /** Kills what runs of it. Absent is fine. @param cgroup directory of its cgroup */
  delete(id: string, bundle: string, cgroup: string): Promise<void>;
  /**
   * Starts a process in the container and returns its pid. It is PID 1's child from then on.
   *
   * @param files path of files that are made on the way and removed again
   */
  exec(target: ExecTarget, files: string, wish: ExecWish): Promise<number>;
  /** The first line of `--version`. */
  version(): Promise<string>;
}

/**
 * @param stateDir folder for the runtime's own state
 * @param helper starts processes in the place of `runc exec`; runC's alone: equality was tested with it
 */
export function ociRuntime(path: string, stateDir: string, helper?: ExecHelper): OciRuntime {
  const root = `${stateDir}/runtime`;
  const must = async (log: string, args: readonly string[], stdio?: Stdio): Promise<void> => {
    const all = ['--root', root, '--log', log, '--log-format', 'json', ...args];
    const { exitCode, stderr } = await runTool(path, all, {
      timeoutMs: callMs,
      ...(stdio === undefined ? {} : { stdio }),
    });
    const complaint = exitCode === 0 ? '' : lastComplaint(log) || stderr.trim().slice(-maxComplaint);
    rmSync(log, { force: true });
    if (exitCode === 0) return;
    throw new HuskError('unknown', `OCI runtime ${args[0]}: exit code ${exitCode}: ${complaint}`, {
      stage: 'oci-runtime',
    });
  };
  return {
    async create(id, bundle, { spec, stdio, consoleSocket }) {
      const pidFile = `${bundle}/pid`;
      const console = consoleSocket === undefined ? [] : ['--console-socket', consoleSocket];
      await must(`${bundle}/log`, ['create', '--bundle', bundle, '--pid-file', pidFile, ...console, id], stdio);
      const pid = readPid(pidFile);
      const startTicks = startTicksOf(pid);
      const filter = spec.linux.seccomp === undefined || helper === undefined ? undefined : `${bundle}/seccomp`;
      if (filter !== undefined) await helper?.keepFilter({ pid, startTicks }, filter);
      return { id, pid, startTicks, spec, filter };
    },
    start: (id, bundle, ended) =>
      helper === undefined ? must(`${bundle}/log`, ['start', id]) : openExecFifo(`${root}/${id}/exec.fifo`, ended),
    async delete(id, bundle, cgroup) {
      // All that runC keeps of a container is its cgroup and a folder; `runc delete` takes 250 to 420 ms under emulation.
      if (helper !== undefined && (await removeCgroup(cgroup)))
        rmSync(`${root}/${id}`, { recursive: true, force: true });
      else await must(`${bundle}/log`, ['delete', '--force', id]);
    },
    exec: (target, files, wish) =>
      helper === undefined || !canJoin(target.spec)
        ? plainExec(must, { target, files, wish })
        : helper.exec(target, wish),
    async version() {
      const { stdout } = await runTool(path, ['--version'], { timeoutMs: callMs });
      return stdout.split('\n', 1)[0] ?? '';
    },
  };
}

type Fd = Stdio[number];
type Must = (log: string, args: readonly string[], stdio?: Stdio) => Promise<void>;

/** `runc exec`, for what husk-exec does not know. */
async function plainExec(
  must: Must,
  { target, files, wish }: { readonly target: ExecTarget; readonly files: string; readonly wish: ExecWish },
): Promise<number> {
  const [json, pidFile] = [`${files}.json`, `${files}.pid`];
  const [stdin, stdout, stderr] = wish.streams.map((fd) => (fd < 0 ? 'ignore' : fd)) as [Fd, Fd, Fd];
  const tty = wish.consoleSocket === undefined ? [] : ['--tty', '--console-socket', wish.consoleSocket];
  const cgroup = wish.cgroup.slice(wish.cgroup.lastIndexOf('/') + 1);
  const args = ['exec', '--detach', '--process', json, '--pid-file', pidFile, '--cgroup', cgroup, ...tty, target.id];
  try {
    writeFileSync(json, JSON.stringify(wish.process));
    await must(`${files}.log`, args, [stdin, stdout, stderr]);
    return readPid(pidFile);
  } finally {
    for (const file of [json, pidFile]) rmSync(file, { force: true });
  }
}

function readPid(path: string): number {
  const text = readFileSync(path, 'latin1').trim();
  if (/^[1-9][0-9]{0,9}$/.test(text)) return Number(text);
  throw new HuskError('internal', `read the pid file "${path}": found "${text.slice(0, 40)}", wanted a number`);
}

/** When the process was started, in clock ticks since boot: field 22 of its stat (proc(5)). */
function startTicksOf(pid: number): string {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

function lastComplaint(path: string): string {
  try {
    return parseComplaint(readFileSync(path, 'utf8'));
  } catch {
    return '';
  }
}

/** The message of the last error in a log of JSON lines; empty when there is none. */
export function parseComplaint(log: string): string {
  for (const line of log.split('\n').reverse()) {
    try {
      const { level, msg } = JSON.parse(line) as { level?: string; msg?: string };
      if ((level === 'error' || level === 'fatal') && typeof msg === 'string') return msg.trim().slice(-maxComplaint);
    } catch {
      // A cut line, or none of the runtime's own.
    }
  }
  return '';
}
