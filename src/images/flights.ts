import type { Digest } from '../base/ids.ts';

/** A layer that a worker is making. */
interface Flight {
  readonly landed: Promise<void>;
  readonly drop: () => void;
  waiters: number;
}

/** Layers on their way: however many pulls want one, it is made once, and dropped when the last lets go. */
export class Flights {
  readonly #flights = new Map<Digest, Flight>();

  has(diffId: Digest): boolean {
    return this.#flights.has(diffId);
  }

  /**
   * Announces a layer. The flight is over, and unknown, when `landed` settles.
   * @param drop called when nobody waits any more
   */
  start(diffId: Digest, landed: Promise<void>, drop: () => void): void {
    const flight: Flight = { landed, drop, waiters: 0 };
    const end = (): void => {
      if (this.#flights.get(diffId) === flight) this.#flights.delete(diffId);
    };
    landed.then(end, end);
    this.#flights.set(diffId, flight);
  }

  /** Waits for layers; all of them are let go when one fails or the signal fires. */
  async join(diffIds: readonly Digest[], signal: AbortSignal): Promise<void> {
    const joined = diffIds.flatMap((diffId) => this.#flights.get(diffId) ?? []);
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => reject(signal.reason);
    aborted.catch(() => undefined);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    for (const flight of joined) flight.waiters += 1;
    try {
      await Promise.race([aborted, Promise.all(joined.map((flight) => flight.landed))]);
    } finally {
      signal.removeEventListener('abort', onAbort);
      for (const flight of joined) {
        flight.waiters -= 1;
        if (flight.waiters === 0) flight.drop();
      }
    }
  }
}
