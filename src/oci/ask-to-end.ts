/** Asking the first process of a container to end by its stop signal. */
import { sleep } from '../base/deadline.ts';

/** A program that cannot take the signal yet is looked at so soon again, each time later by half. */
const firstLookMs = 10;
const maxLookMs = 500;

export interface AskWish {
  readonly graceMs: number;
  /** Resolves when the process has ended. */
  readonly ended: Promise<void>;
  /** Sends the signal if the program can take it. Returns false when it cannot yet. */
  readonly trySend: () => boolean | Promise<boolean>;
}

/**
 * Sends the signal as soon as the program can take it, and waits until it has ended or the grace is over: the kernel
 * drops a signal for which the first process of a PID namespace has no handler yet (./takes-signal.ts), and under emulation seconds lie between the start and the first one.
 */
export async function askToEnd({ graceMs, ended, trySend }: AskWish): Promise<void> {
  const end = performance.now() + graceMs;
  for (let lookMs = firstLookMs; !(await trySend()); lookMs = Math.min(lookMs * 1.5, maxLookMs)) {
    const leftMs = end - performance.now();
    if (leftMs <= 0) return;
    await endedWithin(ended, Math.min(lookMs, leftMs));
  }
  await endedWithin(ended, Math.max(0, end - performance.now()));
}

/** Waits for the end, or for so long. */
export async function endedWithin(ended: Promise<void>, ms: number): Promise<void> {
  const over = new AbortController();
  await Promise.race([ended, sleep(ms, over.signal).catch(() => undefined)]);
  over.abort();
}
