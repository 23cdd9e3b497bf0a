/** One standard stream of a container: its FIFO read into its ring, with back-pressure. */
import type { Socket } from 'node:net';
import { readNow } from './fifos.ts';
import { OutputRing } from './ring.ts';
import type { Tap } from './tap.ts';

/** Unacknowledged bytes kept per stream; then the container's writes wait. */
export const ringBytes = 256 * 1024;
/** A read brings at most this much. */
const maxReadBytes = 64 * 1024;

export class OutputStream {
  readonly ring = new OutputRing(ringBytes);
  readonly #source: Socket;
  readonly #changed: () => void;
  readonly #taps = new Set<Tap>();
  readonly #ended = Promise.withResolvers<void>();
  #held: Buffer | undefined;
  #sourceEnded = false;

  /** @param changed called when there is more to send */
  constructor(source: Socket, changed: () => void) {
    this.#source = source;
    this.#changed = changed;
    source.on('data', (bytes: Buffer) => {
      this.#copy(bytes);
      this.#take(bytes);
    });
    source.on('close', () => this.end());
    source.resume();
  }

  /**
   * Takes what was written, now and not when the event loop comes to it: its streams need long to end. True when nothing
   * can be written any more and all of it is taken.
   */
  drain(): boolean {
    while (!this.#sourceEnded && !this.#source.isPaused()) {
      const bytes = readNow(this.#source, Buffer.allocUnsafe(maxReadBytes));
      if (bytes === undefined) return false;
      if (bytes.length === 0) this.end();
      else {
        this.#copy(bytes);
        this.#take(bytes);
      }
    }
    return this.#sourceEnded && this.#held === undefined;
  }

  /** Offset behind all that was taken. */
  get written(): bigint {
    return this.ring.end;
  }

  /** Copies what is written from now on. Resolves when the stream has ended and the tap has it all, or was closed. */
  async tap(tap: Tap): Promise<void> {
    this.#taps.add(tap);
    await Promise.race([this.#ended.promise, tap.closed]);
    this.#taps.delete(tap);
    tap.end();
    await tap.closed;
  }

  /** The host has stored everything before the offset. */
  acknowledge(offset: bigint): void {
    this.ring.acknowledge(offset);
    const held = this.#held;
    this.#held = undefined;
    if (held !== undefined) this.#take(held);
    if (this.#sourceEnded) this.#finishIfDone();
    else this.#resume();
  }

  /** Ends the stream after what was read; a process that still holds the FIFO is not heard any more. */
  end(): void {
    if (this.#sourceEnded) return;
    this.#sourceEnded = true;
    this.#source.destroy();
    this.#ended.resolve();
    this.#finishIfDone();
  }

  /**
   * Ends the stream once nothing has come for the time although there was room: its writer is
   * dead, and only a process that got away can still hold the FIFO. Bytes that wait for room are
   * never given up.
   */
  endWhenIdle(idleMs: number): void {
    let seen = this.ring.end;
    const timer = setInterval(() => {
      const idle = this.#hasRoom() && !this.#tapped() && this.ring.end === seen;
      seen = this.ring.end;
      if (idle) this.end();
      if (this.#sourceEnded) clearInterval(timer);
    }, idleMs);
    timer.unref();
  }

  #take(bytes: Buffer): void {
    const taken = this.ring.write(bytes);
    if (taken < bytes.length) this.#held = bytes.subarray(taken);
    if (!this.#hasRoom()) this.#source.pause();
    this.#changed();
  }

  #copy(bytes: Buffer): void {
    for (const tap of this.#taps) {
      tap.write(bytes);
      if (!tap.full) continue;
      this.#source.pause();
      tap.whenReady(() => this.#resume());
    }
  }

  /** Whether an attached client holds the stream up. */
  #tapped(): boolean {
    return [...this.#taps].some((tap) => tap.full);
  }

  #resume(): void {
    if (!this.#sourceEnded && this.#hasRoom() && !this.#tapped()) this.#source.resume();
  }

  #hasRoom(): boolean {
    return this.#held === undefined && this.ring.free >= maxReadBytes;
  }

  #finishIfDone(): void {
    if (this.#held !== undefined || this.ring.ended) return;
    this.ring.finish();
    this.#changed();
  }
}
