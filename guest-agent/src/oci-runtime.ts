/** The OCI runtime's command line: runC, or crun, which takes the same arguments. */
import { readFileSync, rmSync } from 'node:fs';
import { HuskError } from '../../src/base/errors.ts';
import { runTool } from './tool.ts';

/** runC takes about a second under emulation on a busy machine; thirty times that means it is stuck. */
const callMs = 30_000;
const maxComplaint = 800;

export type Stdio = readonly [number | 'ignore', number | 'ignore', number | 'ignore'];

export interface ExecRun {
  readonly files: string;
  readonly cgroup: string;
  /** UNIX socket that the master of the process's terminal is sent to; the process asks for one. */
  readonly consoleSocket?: string;
}

/**
 * Each call names a file for the runtime's log, since what goes wrong is told there alone: its
 * standard error is the container's.
 */
export interface OciRuntime {
  /**
   * Returns the pid of the container's first process, which waits for `start`.
   * @param consoleSocket UNIX socket that the master of the process's terminal is sent to
   */
  create(id: string, bundle: string, stdio: Stdio, consoleSocket?: string): Promise<number>;
  start(id: string, bundle: string): Promise<void>;
  /** Absent is fine. */
  delete(id: string, bundle: string): Promise<void>;
  /**
   * Starts a process in the container and returns its pid. It is PID 1's child from then on.
   *
   * `files` is a path to which `.json` (the process, to be there), `.pid` and `.log` are added
   * `cgroup` is the name of an existing cgroup directly below the container's.
   */
  exec(id: string, run: ExecRun, stdio: Stdio): Promise<number>;
  /** The first line of `--version`. */
  version(): Promise<string>;
}

/** @param stateDir folder for the runtime's own state */
export function ociRuntime(path: string, stateDir: string): OciRuntime {
  const must = async (log: string, args: readonly string[], stdio?: Stdio): Promise<void> => {
    const all = ['--root', `${stateDir}/runtime`, '--log', log, '--log-format', 'json', ...args];
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
    async create(id, bundle, stdio, consoleSocket) {
      const pidFile = `${bundle}/pid`;
      const console = consoleSocket === undefined ? [] : ['--console-socket', consoleSocket];
      await must(`${bundle}/log`, ['create', '--bundle', bundle, '--pid-file', pidFile, ...console, id], stdio);
      return readPid(pidFile);
    },
    start: (id, bundle) => must(`${bundle}/log`, ['start', id]),
    delete: (id, bundle) => must(`${bundle}/log`, ['delete', '--force', id]),
    async exec(id, { files, cgroup, consoleSocket }, stdio) {
      const pidFile = `${files}.pid`;
      const console = consoleSocket === undefined ? [] : ['--tty', '--console-socket', consoleSocket];
      const args = ['exec', '--detach', '--process', `${files}.json`, '--pid-file', pidFile, '--cgroup', cgroup];
      await must(`${files}.log`, [...args, ...console, id], stdio);
      return readPid(pidFile);
    },
    async version() {
      const { stdout } = await runTool(path, ['--version'], { timeoutMs: callMs });
      return stdout.split('\n', 1)[0] ?? '';
    },
  };
}

function readPid(path: string): number {
  const text = readFileSync(path, 'latin1').trim();
  if (/^[1-9][0-9]{0,9}$/.test(text)) return Number(text);
  throw new HuskError('internal', `read the pid file "${path}": found "${text.slice(0, 40)}", wanted a number`);
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
