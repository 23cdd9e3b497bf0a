/** The OCI runtime's command line: runC, or crun, which takes the same arguments. */
import { readFileSync } from 'node:fs';
import { HuskError } from '../../src/base/errors.ts';
import { runTool } from './tool.ts';

/** runC takes about a second under emulation on a busy machine; thirty times that means it is stuck. */
const callMs = 30_000;
/** An exec without a limit of its own runs as long as it likes: a year is no deadline that anyone meets. */
const endlessMs = 2 ** 31 - 1;
const maxLogBytes = 4096;

export type Stdio = readonly [number | 'ignore', number | 'ignore', number | 'ignore'];

export interface OciRuntime {
  create(container: { readonly id: string; readonly bundle: string; readonly pidFile: string }, stdio: Stdio): Promise<void>;
  start(id: string): Promise<void>;
  /** Absent is fine. */
  delete(id: string): Promise<void>;
  /**
   * Runs a process in the container and returns its exit code.
   * @param cgroup name of an existing cgroup directly below the container's
   */
  exec(run: { readonly id: string; readonly processFile: string; readonly pidFile: string; readonly cgroup: string }, stdio: Stdio): Promise<number>;
  version(): Promise<string>;
}

/** @param stateDir folder for the runtime's own state and its log */
export function ociRuntime(path: string, stateDir: string): OciRuntime {
  const log = `${stateDir}/runtime.log`;
  const call = async (args: readonly string[], stdio: Stdio | undefined, timeoutMs: number): Promise<number> => {
    const all = ['--root', `${stateDir}/runtime`, '--log', log, ...args];
    const { exitCode } = await runTool(path, all, { timeoutMs, ...(stdio === undefined ? {} : { stdio }) });
    return exitCode;
  };
  const must = async (args: readonly string[], stdio?: Stdio): Promise<void> => {
    const code = await call(args, stdio, callMs);
    if (code === 0) return;
    throw new HuskError('internal', `OCI runtime "${args[0]}": exit code ${code}: ${lastComplaint(log)}`, { stage: 'oci-runtime' });
  };
  return {
    create: ({ id, bundle, pidFile }, stdio) => must(['create', '--bundle', bundle, '--pid-file', pidFile, id], stdio),
    start: (id) => must(['start', id]),
    delete: (id) => must(['delete', '--force', id]),
    exec: ({ id, processFile, pidFile, cgroup }, stdio) =>
      call(['exec', '--process', processFile, '--pid-file', pidFile, '--cgroup', cgroup, id], stdio, endlessMs),
    async version() {
      const { stdout } = await runTool(path, ['--version'], { timeoutMs: callMs });
      return stdout.split('\n', 1)[0] ?? '';
    },
  };
}

/** The message of the last line that the runtime logged. */
function lastComplaint(path: string): string {
  try {
    const last = readFileSync(path, 'utf8').slice(-maxLogBytes).trim().split('\n').at(-1) ?? '';
    return /msg="((?:[^"\\]|\\.)*)"/.exec(last)?.[1] ?? last;
  } catch {
    return 'it logged nothing';
  }
}
