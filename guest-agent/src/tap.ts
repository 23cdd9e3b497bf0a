/** An attached client's copy of a container's output. */
import { closeSync, constants, openSync } from 'node:fs';
import { Socket } from 'node:net';

/** A client that takes nothing for so long is let go: until then the container waits for it. */
const stuckMs = 10_000;

/** Writes into a FIFO that husk-streams reads. */
export class Tap {
  readonly #sink: Socket;
  readonly #patient: boolean;
  /** Resolves when no more will be written. */
  readonly closed: Promise<void>;
  #stuck: NodeJS.Timeout | undefined;

  /**
   * @param path a FIFO with a reader
   * @param patient a client that takes nothing is waited for
   */
  constructor(path: string, patient: boolean) {
    this.#patient = patient;
    const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    try {
      this.#sink = new Socket({ fd, readable: false, writable: true });
    } catch (caught) {
      closeSync(fd);
      throw caught;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    this.#sink.on('error', () => this.#sink.destroy());
    this.#sink.on('close', () => {
      clearTimeout(this.#stuck);
      resolve();
    });
    this.#sink.on('drain', () => {
      clearTimeout(this.#stuck);
      this.#stuck = undefined;
    });
  }

  /** Whether it takes more now. */
  get full(): boolean {
    return !this.#sink.destroyed && this.#sink.writableNeedDrain;
  }

  write(bytes: Buffer): void {
    if (this.#sink.destroyed || this.#sink.writableEnded) return;
    if (!this.#sink.write(bytes) && !this.#patient) this.#stuck ??= setTimeout(() => this.close(), stuckMs);
  }

  /** Calls back when it takes more, or none any more. */
  whenReady(callback: () => void): void {
    this.#sink.once('drain', callback);
    this.#sink.once('close', callback);
  }

  /** No more comes; what was written is still handed over. */
  end(): void {
    this.#sink.end();
  }

  close(): void {
    this.#sink.destroy();
  }
}
