/** Waits until the machine has come to rest. */
import { loadavg } from 'node:os';
import { sleep } from '../../src/base/deadline.ts';

export interface CalmWish {
  /** Runnable processes of the last minute, on average. */
  readonly mostLoad: number;
  readonly longestMs: number;
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
}

/** The load average forgets a build that has just ended within a minute: it cannot be asked more often than the kernel counts it. */
const lookMs = 5_000;

/**
 * Returns the load average once it is low enough, or after the longest wait as it is then. What made the load before does not
 * count; what goes on will be seen.
 * @param loadOf for tests
 */
export async function waitForCalm(
  { mostLoad, longestMs, signal, say }: CalmWish,
  loadOf: () => number = () => loadavg()[0] ?? 0,
  everyMs: number = lookMs,
): Promise<number> {
  const untilMs = performance.now() + longestMs;
  let load = loadOf();
  if (load > mostLoad) say(`load average ${load.toFixed(2)}: waiting until it is ${mostLoad.toFixed(2)} at most`);
  while (load > mostLoad && performance.now() < untilMs) {
    await sleep(everyMs, signal);
    load = loadOf();
  }
  return load;
}
