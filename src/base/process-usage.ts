/** What a process has cost so far, from proc(5). */
import { readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { annotate } from './trace.ts';

export interface ProcessUsage {
  /** CPU time of all its threads, in milliseconds; steps of 10. */
  readonly cpuMs: number;
  /** That of its children that have ended and were waited for. */
  readonly childrenCpuMs: number;
  /** Page faults that needed no disk. */
  readonly minorFaults: number;
  /** Page faults that did. */
  readonly majorFaults: number;
}

/** USER_HZ, which is 100 on every architecture that we run on (time(7)). */
const msPerTick = 10;

/** The usage of a process, or undefined when there is none with the pid. */
export function processUsage(pid: number): ProcessUsage | undefined {
  try {
    return usageOf(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return undefined;
  }
}

/** The usage in the text of /proc/PID/stat. */
export function usageOf(text: string): ProcessUsage {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const at = (index: number): number => Number(fields[index]);
  return {
    minorFaults: at(7),
    majorFaults: at(9),
    cpuMs: (at(11) + at(12)) * msPerTick,
    childrenCpuMs: (at(13) + at(14)) * msPerTick,
  };
}

/**
 * Notes on the span that is under way what a program has cost, with the children that it has waited for.
 * Its output ends when it exits, and it is looked at then, before libuv waits for it; where it was waited
 * for first, or left its output to a child, there is no figure.
 */
export function noteCpuAtEnd(child: { readonly pid?: number | undefined; readonly stdout: Readable | null }): void {
  child.stdout?.once('end', () => {
    const usage = child.pid === undefined ? undefined : processUsage(child.pid);
    if (usage !== undefined) annotate({ cpuMs: usage.cpuMs + usage.childrenCpuMs });
  });
}
