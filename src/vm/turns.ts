/** Lets so many guests at a time do what takes a processor. */
import { cpus } from 'node:os';
import { span } from '../base/trace.ts';

/** What more of them at a time cost: docs/adr/0064. */
const turnsPerProcessor = 2;
/** A guest that is stuck keeps its turn for long; nobody waits for it longer than this. */
const longestWaitMs = 20_000;

/**
 * First come, first served. The limit is a soft one: it makes many starts at once cheaper, and is never what keeps
 * one from starting.
 */
export class Turns {
  readonly #most: number;
  readonly #longestWaitMs: number;
  readonly #waiting: ((handed: boolean) => void)[] = [];
  #running = 0;

  constructor(most: number = turnsPerProcessor * cpus().length, waitMs: number = longestWaitMs) {
    this.#most = most;
    this.#longestWaitMs = waitMs;
  }

  /** Runs the work when it is its turn, or at once when the signal fires, which the work then finds out itself. */
  async take<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const handed = this.#running >= this.#most && (await span('turn', () => this.#wait(signal)));
    if (!handed) this.#running += 1;
    try {
      return await work();
    } finally {
      this.#running -= 1;
      this.#handOn();
    }
  }

  /** Counted here already, so that nobody who comes meanwhile takes the turn too. */
  #handOn(): void {
    while (this.#running < this.#most) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#running += 1;
      next(true);
    }
  }

  /** Whether the turn was handed over; not so when it was waited for long enough. */
  async #wait(signal: AbortSignal): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    // Out of the row at once: a turn that was handed to one who does not take it would be lost.
    const goOn = (): void => {
      const place = this.#waiting.indexOf(resolve);
      if (place >= 0) this.#waiting.splice(place, 1);
      resolve(false);
    };
    this.#waiting.push(resolve);
    const timer = setTimeout(goOn, this.#longestWaitMs);
    signal.addEventListener('abort', goOn, { once: true });
    if (signal.aborted) goOn();
    const handed = await promise;
    clearTimeout(timer);
    signal.removeEventListener('abort', goOn);
    return handed;
  }
}
