import { malformed } from '../json.ts';

/** Reads exact numbers of bytes from a stream of chunks. */
export class ByteReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Buffer>) {
    this.#chunks = source[Symbol.asyncIterator]();
  }

  /** Exactly `size` bytes, or undefined at a clean end. */
  async read(size: number): Promise<Buffer | undefined> {
    if (this.#rest.length >= size) return this.#take(size);
    const parts: Buffer[] = [];
    let missing = size;
    while (missing > 0) {
      if (this.#rest.length === 0 && !(await this.#more())) {
        if (missing === size) return undefined;
        throw malformed('tar', 'the stream ends in mid-block');
      }
      const part = this.#take(Math.min(missing, this.#rest.length));
      missing -= part.length;
      parts.push(part);
    }
    return Buffer.concat(parts, size);
  }

  /** Hands `size` bytes on in the pieces they come in. */
  async forward(size: number, write: (chunk: Buffer) => Promise<void> | void): Promise<void> {
    for (let missing = size; missing > 0; ) {
      if (this.#rest.length === 0 && !(await this.#more())) throw malformed('tar', 'the stream ends inside a file');
      const part = this.#take(Math.min(missing, this.#rest.length));
      missing -= part.length;
      const waits = write(part);
      if (waits !== undefined) await waits;
    }
  }

  /** Reads to the end and throws everything away. */
  async drain(): Promise<void> {
    while (await this.#more()) this.#rest = Buffer.alloc(0);
  }

  #take(size: number): Buffer {
    const part = this.#rest.subarray(0, size);
    this.#rest = this.#rest.subarray(size);
    return part;
  }

  async #more(): Promise<boolean> {
    const next = await this.#chunks.next();
    if (next.done === true) return false;
    this.#rest = next.value;
    return true;
  }
}
