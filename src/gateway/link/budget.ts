/**
 * What a guest may make the gateway do for nothing.
 *
 * Useful bytes are held back by flow control: the gateway takes no more than huskd takes.
 * Frames without use (pings, settings, headers, events of containers that nobody knows) have
 * no such brake (RFC 9113, 10.5; CVE-2019-9512 to 9518), so they are counted.
 */
import type { Clock } from '../../base/clock.ts';

/** A bucket of allowance that fills with time. */
export class Budget {
  readonly #clock: Clock;
  readonly #most: number;
  readonly #perSecond: number;
  #left: number;
  #filledAtMs: number;

  /**
   * @param most the allowance at once, and at the start
   * @param perSecond how fast it fills again
   */
  constructor(clock: Clock, most: number, perSecond: number) {
    this.#clock = clock;
    this.#most = most;
    this.#perSecond = perSecond;
    this.#left = most;
    this.#filledAtMs = clock.monotonicMs();
  }

  /** Takes from the allowance. False: it is used up. A negative amount gives back. */
  spend(amount: number): boolean {
    this.#fill();
    this.#left = Math.min(this.#most, this.#left - amount);
    return this.#left >= 0;
  }

  /** How long until the allowance is above nothing again, in milliseconds. */
  waitMs(): number {
    this.#fill();
    return this.#left >= 0 ? 0 : Math.ceil((-this.#left / this.#perSecond) * 1_000);
  }

  #fill(): void {
    const now = this.#clock.monotonicMs();
    this.#left = Math.min(this.#most, this.#left + ((now - this.#filledAtMs) / 1_000) * this.#perSecond);
    this.#filledAtMs = now;
  }
}
