/** What removed containers leave for later: it is cleared away after the answer, and tried again when that fails. */
import { sleep } from '../../src/base/deadline.ts';
import { describeError } from '../../src/base/errors.ts';
import type { Log } from '../../src/base/log.ts';

/** Times between one try and the next; after the last one it stays until the pod ends. */
const retryMs = [1_000, 10_000, 60_000];

/**
 * Work that nobody waits for, because nobody can tell whether it is done. A failure is told on the console, which the
 * host keeps the end of.
 */
export class Leavings {
  readonly #log: Pick<Log, 'warn' | 'error'>;
  readonly #retryMs: readonly number[];
  readonly #underWay = new Set<Promise<void>>();

  constructor(log: Pick<Log, 'warn' | 'error'>, waitsMs: readonly number[] = retryMs) {
    this.#log = log;
    this.#retryMs = waitsMs;
  }

  /** @param work goes on, when it is tried again, with what it has left */
  clear(what: string, work: () => Promise<void>): void {
    const cleared = this.#clear(what, work).finally(() => this.#underWay.delete(cleared));
    this.#underWay.add(cleared);
  }

  /** Resolves when all that was asked for is done, or given up. */
  async settled(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  async #clear(what: string, work: () => Promise<void>): Promise<void> {
    for (const waitMs of [...this.#retryMs, undefined]) {
      try {
        return await work();
      } catch (caught) {
        const error = describeError(caught);
        if (waitMs === undefined) return this.#log.error({ what, error }, 'left until the pod ends');
        this.#log.warn({ what, error, againInMs: waitMs }, 'not cleared away yet');
        await sleep(waitMs);
      }
    }
  }
}
