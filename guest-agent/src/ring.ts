/** The bytes of one output stream that the host has not yet acknowledged. */

const firstCapacity = 4 * 1024;

/**
 * A bounded window over an endless stream, addressed by absolute offsets.
 *
 *     start (acknowledged)          end (written)
 *       |---- kept, at most `cap` ----|
 *
 * The memory grows with need up to the cap: most containers say little.
 */
export class OutputRing {
  readonly #cap: number;
  #bytes = Buffer.alloc(0);
  #start = 0n;
  #length = 0;
  #ended = false;

  constructor(cap: number) {
    this.#cap = cap;
  }

  /** Offset of the first byte kept. */
  get start(): bigint {
    return this.#start;
  }

  /** Offset after the last byte written. */
  get end(): bigint {
    return this.#start + BigInt(this.#length);
  }

  /** How many bytes may be written now. */
  get free(): number {
    return this.#cap - this.#length;
  }

  /** No more bytes will be written. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Marks the end of the stream. */
  finish(): void {
    this.#ended = true;
  }

  /** Appends what fits and returns how many bytes that was. */
  write(data: Uint8Array): number {
    const taken = Math.min(data.length, this.free);
    this.#grow(this.#length + taken);
    const size = this.#bytes.length;
    for (let done = 0; done < taken; ) {
      const at = (Number(this.#start % BigInt(size)) + this.#length) % size;
      const part = Math.min(taken - done, size - at);
      this.#bytes.set(data.subarray(done, done + part), at);
      this.#length += part;
      done += part;
    }
    return taken;
  }

  /** A copy of at most `max` bytes from the offset on; offsets outside the window are moved into it. */
  read(from: bigint, max: number): { readonly offset: bigint; readonly data: Buffer } {
    const offset = this.clamp(from);
    const length = Math.min(Number(this.end - offset), max);
    const data = Buffer.allocUnsafe(length);
    const size = this.#bytes.length;
    for (let done = 0; done < length; ) {
      const at = Number((offset + BigInt(done)) % BigInt(size));
      const part = Math.min(length - done, size - at);
      this.#bytes.copy(data, done, at, at + part);
      done += part;
    }
    return { offset, data };
  }

  /** The offset, or the nearest one that the window has. */
  clamp(offset: bigint): bigint {
    if (offset < this.#start) return this.#start;
    return offset > this.end ? this.end : offset;
  }

  /** Forgets the bytes before the offset. */
  acknowledge(offset: bigint): void {
    const to = this.clamp(offset);
    this.#length -= Number(to - this.#start);
    this.#start = to;
  }

  #grow(needed: number): void {
    if (needed <= this.#bytes.length) return;
    let size = Math.max(firstCapacity, this.#bytes.length);
    while (size < needed) size *= 2;
    const grown = Buffer.allocUnsafe(Math.min(size, this.#cap));
    const { data } = this.read(this.#start, this.#length);
    const at = Number(this.#start % BigInt(grown.length));
    const part = Math.min(data.length, grown.length - at);
    data.copy(grown, at, 0, part);
    data.copy(grown, 0, part);
    this.#bytes = grown;
  }
}
