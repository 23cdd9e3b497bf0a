/** One output of an exec, copied to whoever asked for it. */
import type { Socket } from 'node:net';

/** Takes bytes; false means: no more until `whenReady` calls back. */
export interface Sink {
  write(bytes: Buffer): boolean;
  whenReady(callback: () => void): void;
}

/** Reads a FIFO into a sink, no faster than the sink takes it. */
export class OutputCopy {
  /** Resolves when all was handed over, or the copy was given up. */
  readonly done: Promise<void>;
  readonly #source: Socket;
  #held = false;
  #chunks = 0;

  constructor(source: Socket, sink: Sink) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.done = promise;
    this.#source = source;
    source.on('data', (bytes: Buffer) => {
      this.#chunks += 1;
      if (sink.write(bytes)) return;
      this.#held = true;
      source.pause();
      sink.whenReady(() => {
        this.#held = false;
        source.resume();
      });
    });
    source.on('close', resolve);
    source.resume();
  }

  /** Gives up what is left. */
  stop(): void {
    this.#source.destroy();
  }

  /** Gives up once nothing has come for the time although the sink would have taken it. */
  stopWhenIdle(idleMs: number): void {
    let seen = this.#chunks;
    const timer = setInterval(() => {
      if (!this.#held && this.#chunks === seen) this.stop();
      seen = this.#chunks;
      if (this.#source.destroyed) clearInterval(timer);
    }, idleMs);
  }
}
