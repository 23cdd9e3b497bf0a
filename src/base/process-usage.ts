/** What a process has cost so far, from proc(5). */
import { readFileSync } from 'node:fs';

export interface ProcessUsage {
  /** CPU time of all its threads, in milliseconds; steps of 10. */
  readonly cpuMs: number;
  /** Page faults that needed no disk. */
  readonly minorFaults: number;
  /** Page faults that did. */
  readonly majorFaults: number;
}

/** USER_HZ, which is 100 on every architecture that we run on (time(7)). */
const msPerTick = 10;

/** The usage of a process, or undefined when there is none with the pid. */
export function processUsage(pid: number): ProcessUsage | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const at = (index: number): number => Number(fields[index]);
  return { minorFaults: at(7), majorFaults: at(9), cpuMs: (at(11) + at(12)) * msPerTick };
}

/** CPU time alone. */
export function cpuMsOf(pid: number): number | undefined {
  return processUsage(pid)?.cpuMs;
}
