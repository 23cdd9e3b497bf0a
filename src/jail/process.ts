/** Processes by pid and start time: ours, or left by an earlier daemon. */
import { readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { sleep } from '../base/deadline.ts';
import { HuskError, isErrno } from '../base/errors.ts';

/** A process that cannot be mistaken for a later one with its pid. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat (proc(5)): clock ticks from boot to the start. */
  readonly startTicks: string;
}

export interface JailedProcess extends ProcessIdentity {
  /** How it ended: `exit code 1`, `signal 9`, or `ended` where nobody saw it. Never rejects. */
  readonly exited: Promise<string>;
}

/** Between two looks at a process that is not our child. */
const pollMs = 50;
/** The keeper writes the end within a scheduling delay of the process's last breath. */
const exitRecordTries = 20;

/** Whether the process runs; a zombie does not. */
export function isAlive(process: ProcessIdentity): boolean {
  return readIdentity(process.pid)?.startTicks === process.startTicks;
}

/** The identity of a running process, or undefined when there is none with the pid. */
export function readIdentity(pid: number): ProcessIdentity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const startTicks = fields[19];
    return startTicks === undefined || fields[0] === 'Z' || fields[0] === 'X' ? undefined : { pid, startTicks };
  } catch (caught) {
    if (isErrno(caught, 'ENOENT') || isErrno(caught, 'ESRCH')) return undefined;
    throw HuskError.from(caught);
  }
}

/** Sends SIGKILL; a process that is gone is fine. */
export function kill(target: ProcessIdentity): void {
  if (!isAlive(target)) return;
  try {
    process.kill(target.pid, 'SIGKILL');
  } catch (caught) {
    if (!isErrno(caught, 'ESRCH')) throw HuskError.from(caught);
  }
}

/** Every process that has the text as one whole argument. */
export function processesWithArgument(argument: string): ProcessIdentity[] {
  const found: ProcessIdentity[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (!readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0').includes(argument)) continue;
    } catch {
      continue;
    }
    const identity = readIdentity(Number(name));
    if (identity !== undefined) found.push(identity);
  }
  return found;
}

/** Waits until none of the processes runs. */
export async function allGone(processes: readonly ProcessIdentity[]): Promise<void> {
  while (processes.some(isAlive)) await sleep(5);
}

/** A process whose keeper is our child: its end is seen at once. */
export function watchChild(identity: ProcessIdentity, exitFile: string, keeperExited: Promise<void>): JailedProcess {
  // A keeper that was killed alone leaves the program running: then look as for a stranger.
  const exited = keeperExited.then(() => pollUntilGone(identity)).then(() => readEnd(exitFile, 1));
  return { ...identity, exited };
}

/** A process of an earlier daemon: looked at every 50 ms. */
export function watchStranger(identity: ProcessIdentity, exitFile: string): JailedProcess {
  const keeper = keeperOf(identity, dirname(exitFile));
  const exited = pollUntilGone(identity).then(async () => {
    const end = await readEnd(exitFile, exitRecordTries);
    // It is in the pod's cgroup too, which is to be empty when the VM counts as ended.
    if (keeper !== undefined) await allGone([keeper]);
    return end;
  });
  return { ...identity, exited };
}

/** The parent, unless that is whoever adopts orphans. */
function keeperOf({ pid }: ProcessIdentity, stateFolder: string): ProcessIdentity | undefined {
  try {
    const parent = Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
    const args = readFileSync(`/proc/${parent}/cmdline`, 'utf8').split('\0');
    return args.includes(stateFolder) ? readIdentity(parent) : undefined;
  } catch {
    return undefined;
  }
}

async function pollUntilGone(identity: ProcessIdentity): Promise<void> {
  while (isAlive(identity)) await sleep(pollMs);
}

async function readEnd(exitFile: string, tries: number): Promise<string> {
  for (let left = tries; left > 0; left -= 1) {
    const text = await readFile(exitFile, 'utf8').catch(() => '');
    const end = /^(exit|signal) (\d{1,3})\n$/.exec(text);
    if (end !== null) return end[1] === 'exit' ? `exit code ${end[2]}` : `signal ${end[2]}`;
    if (left > 1) await sleep(10);
  }
  return 'ended';
}
