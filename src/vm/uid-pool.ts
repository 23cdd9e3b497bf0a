import { HuskError } from '../base/errors.ts';

/** Host uids for VMs, one each: what escapes from one VM owns nothing of another. */
export class UidPool {
  readonly #first: number;
  readonly #count: number;
  readonly #taken = new Set<number>();
  #next = 0;

  constructor(range: { readonly first: number; readonly count: number }) {
    this.#first = range.first;
    this.#count = range.count;
  }

  /**
   * A uid that nobody holds; the one given back last is used last.
   * @throws HuskError `resource-exhausted`
   */
  take(): number {
    for (let tries = 0; tries < this.#count; tries += 1) {
      const uid = this.#first + this.#next;
      this.#next = (this.#next + 1) % this.#count;
      if (this.#taken.has(uid)) continue;
      this.#taken.add(uid);
      return uid;
    }
    throw new HuskError(
      'resource-exhausted',
      `take a uid for a VM: all ${this.#count} from ${this.#first} are in use`,
      {
        hint: 'remove pods',
      },
    );
  }

  /** Marks a uid of an earlier daemon's pod as taken. */
  reserve(uid: number): void {
    this.#taken.add(uid);
  }

  give(uid: number): void {
    this.#taken.delete(uid);
  }
}
