/** Processes of native pods, known by pid files. A pid is used only when its process is still the one meant. */
import { readFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { sleep } from '../base/deadline.ts';
import { isErrno } from '../base/errors.ts';

const pollMs = 10;

/** The number in a pid file; undefined when there is none. */
export async function readPidFile(path: string): Promise<number | undefined> {
  const text = (await readFile(path, 'latin1').catch(() => '')).trim();
  return /^[1-9]\d{0,9}$/.test(text) ? Number(text) : undefined;
}

/** Whether the process is in a cgroup of the container. A zombie is not: it has ended. */
export async function isContainerProcess(pid: number, containerId: string): Promise<boolean> {
  const cgroup = await readFile(`/proc/${pid}/cgroup`, 'latin1').catch(() => '');
  return cgroup.includes(containerId) && (await isAlive(pid));
}

/** Whether the process is the container's conmon: the id is one of its arguments. */
export async function isConmonOf(pid: number, containerId: string): Promise<boolean> {
  const line = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '');
  const args = line.split('\0');
  return args.includes('--cid') && args.includes(containerId);
}

/** Whether there is such a process and it has not ended. */
export async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
  // The state is the field after the name, which may hold anything but ends with the last ")".
  const state = stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3);
  return stat !== '' && state !== 'Z' && state !== 'X';
}

/** The first and the last real-time signal as glibc counts them (signal(7)). */
const [rtMin, rtMax] = [34, 64];

/** The number of a signal of a record: `TERM`, `RTMIN+3`, `15`. */
export function signalNumber(name: string): number {
  const realTime = /^RT(MIN|MAX)([+-]\d{1,2})?$/.exec(name);
  if (realTime !== null) return (realTime[1] === 'MIN' ? rtMin : rtMax) + Number(realTime[2] ?? '0');
  const known: Readonly<Record<string, number>> = constants.signals;
  return known[`SIG${name}`] ?? (/^\d+$/.test(name) ? Number(name) : constants.signals.SIGTERM);
}

/** Sends a signal; a process that is gone is fine. */
export function signalProcess(pid: number, signal: number): void {
  try {
    process.kill(pid, signal);
  } catch (caught) {
    if (!isErrno(caught, 'ESRCH')) throw caught;
  }
}

/** Waits until `done` says so. @returns false when the time is over */
export async function until(ms: number, done: () => Promise<boolean>): Promise<boolean> {
  const end = performance.now() + ms;
  for (;;) {
    if (await done()) return true;
    if (performance.now() > end) return false;
    await sleep(pollMs);
  }
}
