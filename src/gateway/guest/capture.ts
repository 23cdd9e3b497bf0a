/** What is kept of a command's output, within what all commands of a gateway may keep together. */
import { HuskError } from '../../base/errors.ts';

const blockBytes = 64 * 1024;

/** Bytes that are shared by all who take from them. */
export class SharedBytes {
  readonly #most: number;
  #left: number;

  constructor(most: number) {
    this.#most = most;
    this.#left = most;
  }

  /** @throws HuskError `resource-exhausted`; then nothing was taken */
  take(bytes: number): void {
    if (bytes > this.#left) {
      throw new HuskError(
        'resource-exhausted',
        `exec: the output of all running ExecSync calls together is over ${this.#most} bytes`,
        { hint: 'run fewer at a time, or let them write less' },
      );
    }
    this.#left -= bytes;
  }

  give(bytes: number): void {
    this.#left += bytes;
  }
}

/**
 * Keeps the first bytes of a stream. They are copied into blocks, so that what many small messages
 * came in is not held with them.
 */
export class Capture {
  readonly #most: number;
  readonly #shared: SharedBytes;
  readonly #blocks: Buffer[] = [];
  #bytes = 0;

  constructor(most: number, shared: SharedBytes) {
    this.#most = most;
    this.#shared = shared;
  }

  /** @throws HuskError `resource-exhausted` when all captures together hold too much */
  add(data: Buffer): void {
    const end = Math.min(data.length, this.#most - this.#bytes);
    for (let at = 0; at < end; ) {
      const used = this.#bytes % blockBytes;
      if (used === 0) this.#grow();
      const copied = data.copy(this.#blocks.at(-1) as Buffer, used, at, Math.min(end, at + blockBytes - used));
      at += copied;
      this.#bytes += copied;
    }
  }

  take(): Buffer {
    return Buffer.concat(this.#blocks, this.#bytes);
  }

  /** Gives its bytes back to the others. */
  release(): void {
    this.#shared.give(this.#blocks.length * blockBytes);
    this.#blocks.length = 0;
    this.#bytes = 0;
  }

  #grow(): void {
    this.#shared.take(blockBytes);
    this.#blocks.push(Buffer.allocUnsafeSlow(blockBytes));
  }
}
