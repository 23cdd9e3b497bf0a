/** One channel of output of a guest's stream, as a Readable that grants credit as it is read. */
import { Readable } from 'node:stream';

/** Smaller pieces are gathered: a piece of one byte would keep the whole chunk alive that it came in. */
const gatherBytes = 8 * 1024;

export interface CreditSource {
  /** How much this channel may have on the way now, in bytes. */
  window(): number;
  grant(bytes: number): void;
}

export class GuestOutput extends Readable {
  readonly #credit: CreditSource;
  readonly #held: Buffer[] = [];
  /** Room left in the last held block, if it is one that gathers. */
  #room = 0;
  #granted = 0;
  #wanted = false;
  #ended = false;
  /** Grows as the reader proves that it reads. */
  #trust: number;
  #readSinceGrowth = 0;

  /** @param firstWindow bytes granted at once */
  constructor(credit: CreditSource, firstWindow: number) {
    // One piece at a time: what waits is counted here.
    super({ highWaterMark: 1 });
    this.#credit = credit;
    this.#trust = firstWindow;
    this.#topUp();
  }

  /** Takes bytes of the guest. False: more than was granted. */
  deliver(data: Buffer): boolean {
    this.#granted -= data.length;
    if (this.#granted < 0) return false;
    if (this.destroyed || this.#ended) return true;
    if (this.#wanted && this.#held.length === 0) this.#hand(data.length < gatherBytes ? Buffer.from(data) : data);
    else this.#hold(data);
    return true;
  }

  /** No more comes. */
  finish(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#held.length === 0) this.push(null);
  }

  override _read(): void {
    this.#wanted = true;
    const next = this.#held.shift();
    if (next === undefined) return;
    if (this.#held.length === 0 && this.#room > 0) {
      this.#hand(next.subarray(0, next.length - this.#room));
      this.#room = 0;
    } else this.#hand(next);
    if (this.#held.length === 0 && this.#ended) this.push(null);
  }

  #hold(data: Buffer): void {
    let rest = data;
    const last = this.#held.at(-1);
    if (last !== undefined && this.#room > 0) {
      const copied = rest.copy(last, last.length - this.#room);
      this.#room -= copied;
      rest = rest.subarray(copied);
    }
    if (rest.length === 0) return;
    if (rest.length >= gatherBytes) {
      this.#held.push(rest);
      this.#room = 0;
      return;
    }
    const block = Buffer.allocUnsafeSlow(gatherBytes);
    rest.copy(block);
    this.#held.push(block);
    this.#room = gatherBytes - rest.length;
  }

  #hand(data: Buffer): void {
    this.#wanted = false;
    this.push(data);
    this.#readSinceGrowth += data.length;
    if (this.#readSinceGrowth >= this.#trust) {
      this.#readSinceGrowth = 0;
      this.#trust *= 2;
    }
    this.#topUp();
  }

  #topUp(): void {
    const window = Math.min(this.#trust, this.#credit.window());
    const waiting = this.#held.reduce((sum, block) => sum + block.length, 0);
    const fresh = window - waiting - this.#granted;
    // Few large grants: each costs a frame and a wake of the guest.
    if (fresh < window / 2) return;
    this.#granted += fresh;
    this.#credit.grant(fresh);
  }
}
