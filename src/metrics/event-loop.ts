/** How long this process's event loop keeps others waiting: a histogram of delays. */

/** Upper bounds in milliseconds, finer where the targets are (10 and 20 ms). */
const bounds = [1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000, 2000];

export interface DelayBucket {
  /** Upper bound in milliseconds. */
  readonly le: number;
  /** How many delays were at most that. */
  readonly count: number;
}

/** Cumulative counts by bound. Pure but for its own counts. */
export class DelayHistogram {
  readonly #counts = Array.from({ length: bounds.length + 1 }, () => 0);
  #sumMs = 0;

  add(ms: number): void {
    const index = bounds.findIndex((bound) => ms <= bound);
    const place = index < 0 ? bounds.length : index;
    this.#counts[place] = (this.#counts[place] ?? 0) + 1;
    this.#sumMs += ms;
  }

  get sumMs(): number {
    return this.#sumMs;
  }

  /** Ends with the bucket that has no bound. */
  buckets(): DelayBucket[] {
    let count = 0;
    return [...bounds, Number.POSITIVE_INFINITY].map((le, index) => {
      count += this.#counts[index] ?? 0;
      return { le, count };
    });
  }
}

/**
 * A timer that should fire every so often, and by how much it is late: what a call that comes in at
 * that moment waits. Costs a hundred wake-ups a second, so it runs only when somebody reads it.
 */
export function watchEventLoop(everyMs = 10): { readonly delays: DelayHistogram; stop(): void } {
  const delays = new DelayHistogram();
  let due = performance.now() + everyMs;
  const timer = setInterval(() => {
    const now = performance.now();
    delays.add(Math.max(0, now - due));
    // From now, not from when it was due: a delay is counted once, not again in the next tick.
    due = now + everyMs;
  }, everyMs);
  timer.unref();
  return { delays, stop: () => clearInterval(timer) };
}
