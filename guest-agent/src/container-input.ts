/** The standard input of a container: a FIFO that attached clients write to. */
import { closeSync, constants, openSync, unlinkSync } from 'node:fs';

export class ContainerInput {
  readonly #path: string;
  readonly #once: boolean;
  /** Held open, so that the container does not see an end before, or between, its clients. */
  #writer: number | undefined;
  /** A reader of ours until the real one is there: without any, no client could open it. */
  #reader: number | undefined;

  /** @param path a FIFO; unlinked at the end @param once its first client's end is its own */
  constructor(path: string, once: boolean) {
    this.#path = path;
    this.#once = once;
    this.#reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    this.#writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  }

  /** Where a client writes; undefined when no more may. */
  get path(): string | undefined {
    return this.#writer === undefined ? undefined : this.#path;
  }

  /** The container's end, to be closed once it has it. */
  openForContainer(): number {
    return openSync(this.#path, constants.O_RDONLY);
  }

  /** The container, or what feeds its terminal, reads. */
  handedOver(): void {
    if (this.#reader !== undefined) closeSync(this.#reader);
    this.#reader = undefined;
  }

  /** A client has opened it. */
  joined(): void {
    if (this.#once) this.close();
  }

  close(): void {
    this.handedOver();
    if (this.#writer === undefined) return;
    closeSync(this.#writer);
    this.#writer = undefined;
    unlinkSync(this.#path);
  }
}
