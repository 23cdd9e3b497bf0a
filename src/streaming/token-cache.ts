/** Single-use tickets: the URL given to the kubelet is a bearer secret, good once and for a minute. */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { HuskError } from '../base/errors.ts';

/** 192 bits: nobody guesses one on a loopback port that every local user can reach. */
const tokenBytes = 24;
const maxInFlight = 1000;
const lifeMs = 60_000;

interface Ticket<T> {
  readonly request: T;
  readonly expiresAtMs: number;
}

export class TokenCache<T> {
  readonly #clock: Clock;
  readonly #tickets = new Map<string, Ticket<T>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Keeps a request and returns its token.
   * @throws HuskError `resource-exhausted` when 1000 wait to be used
   */
  insert(request: T): string {
    this.#dropExpired();
    if (this.#tickets.size >= maxInFlight) {
      throw new HuskError(
        'resource-exhausted',
        `open a stream: ${maxInFlight} requests wait for their clients already`,
        {
          stage: 'streaming',
          hint: 'try again in a minute',
        },
      );
    }
    const token = randomBytes(tokenBytes).toString('base64url');
    this.#tickets.set(token, { request, expiresAtMs: this.#clock.monotonicMs() + lifeMs });
    return token;
  }

  /** The request of a token, once; undefined when it is unknown, used or too old. */
  consume(token: string): T | undefined {
    const ticket = this.#tickets.get(token);
    this.#tickets.delete(token);
    return ticket !== undefined && ticket.expiresAtMs > this.#clock.monotonicMs() ? ticket.request : undefined;
  }

  get size(): number {
    return this.#tickets.size;
  }

  /** Tickets are in the order of their age: stop at the first that is good. */
  #dropExpired(): void {
    const now = this.#clock.monotonicMs();
    for (const [token, { expiresAtMs }] of this.#tickets) {
      if (expiresAtMs > now) return;
      this.#tickets.delete(token);
    }
  }
}
