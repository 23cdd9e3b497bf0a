/** One operation at a time for each key; others wait in line, with a deadline. */
import { HuskError } from '../../base/errors.ts';

export interface Turn {
  readonly key: string;
  /** The operation, for those who wait: `StopPodSandbox`. */
  readonly what: string;
  /** The longest wait for the turn, in milliseconds. */
  readonly waitMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** Locks by key. A key costs memory only while somebody holds or wants it. */
export class KeyedMutex {
  readonly #lines = new Map<string, { holder: string; readonly waiting: (() => void)[] }>();

  /**
   * Runs the work when the key is free.
   * @throws HuskError `deadline-exceeded` when the turn does not come in time, naming who holds
   *   it; `cancelled`; and what the work throws
   */
  async run<T>(turn: Turn, work: () => Promise<T>): Promise<T> {
    await this.#acquire(turn);
    try {
      return await work();
    } finally {
      this.#release(turn.key);
    }
  }

  /** How many keys are held. For tests that look for leaks. */
  get size(): number {
    return this.#lines.size;
  }

  async #acquire(turn: Turn): Promise<void> {
    turn.signal?.throwIfAborted();
    const line = this.#lines.get(turn.key);
    if (line === undefined) {
      this.#lines.set(turn.key, { holder: turn.what, waiting: [] });
      return;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const enter = (): void => {
      line.holder = turn.what;
      resolve();
    };
    const leave = (error: unknown): void => {
      const place = line.waiting.indexOf(enter);
      if (place >= 0) line.waiting.splice(place, 1);
      reject(error);
    };
    const onAbort = (): void => leave(turn.signal?.reason);
    const timer = setTimeout(() => leave(busy(turn, line.holder)), turn.waitMs);
    turn.signal?.addEventListener('abort', onAbort, { once: true });
    line.waiting.push(enter);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      turn.signal?.removeEventListener('abort', onAbort);
    }
  }

  #release(key: string): void {
    const next = this.#lines.get(key)?.waiting.shift();
    if (next === undefined) this.#lines.delete(key);
    else next();
  }
}

function busy(turn: Turn, holder: string): HuskError {
  return new HuskError(
    'deadline-exceeded',
    `${turn.what} of "${turn.key}": ${holder} of the same pod has not ended within ${turn.waitMs} ms`,
    { stage: 'wait-for-pod', hint: 'ask again' },
  );
}
