/** Asking a native container to end by its stop signal. */
import { readFile } from 'node:fs/promises';
import { sleep } from '../base/deadline.ts';
import { takesSignal } from '../oci/takes-signal.ts';
import { isContainerProcess, readPidFile, signalNumber, signalProcess } from './processes.ts';

/** A program that cannot take the signal yet is looked at so soon again, each time later by half. */
const firstLookMs = 10;
const maxLookMs = 500;

export interface AskWish {
  readonly containerId: string;
  readonly pidFile: string;
  readonly stopSignal: string;
  readonly graceMs: number;
  /** Resolves when its exit was reported. */
  readonly ended: Promise<void>;
}

/**
 * Sends the signal as soon as the program can take it, and waits until it has ended or the grace is over: the kernel
 * drops a signal for which the first process of a PID namespace has no handler yet.
 */
export async function askToEnd({ containerId, pidFile, stopSignal, graceMs, ended }: AskWish): Promise<void> {
  const end = performance.now() + graceMs;
  const signal = signalNumber(stopSignal);
  for (let lookMs = firstLookMs; ; lookMs = Math.min(lookMs * 1.5, maxLookMs)) {
    const pid = await readPidFile(pidFile);
    if (pid === undefined || !(await isContainerProcess(pid, containerId))) break;
    if (await isReady(pid, signal)) {
      signalProcess(pid, signal);
      break;
    }
    const leftMs = end - performance.now();
    if (leftMs <= 0) return;
    await endedWithin(ended, Math.min(lookMs, leftMs));
  }
  await endedWithin(ended, Math.max(0, end - performance.now()));
}

/** It takes the signal, and is the program: runC's own process, which becomes that, catches signals too. */
async function isReady(pid: number, signal: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'latin1').catch(() => '');
  return takesSignal(status, signal) && !/^Name:\trunc:\[/m.test(status);
}

async function endedWithin(ended: Promise<void>, ms: number): Promise<void> {
  const waiting = new AbortController();
  await Promise.race([ended, sleep(ms, waiting.signal).catch(() => undefined)]);
  waiting.abort();
}
