/** One SPDY stream as a Node Duplex: ends are half-closes, destroying it resets it. */
import { Duplex } from 'node:stream';
import { HuskError } from '../../base/errors.ts';
import type { Headers } from './header-block.ts';

/** What a stream needs of its session. */
export interface StreamSink {
  /** Sends data; calls back when it is with the system, and more may be sent. */
  sendData(streamId: number, data: Buffer, fin: boolean, done: (error?: Error | null) => void): void;
  sendReset(streamId: number): void;
  forget(streamId: number): void;
}

/** Bytes a stream holds before its session stops reading: with many streams these add up. */
const highWaterMark = 64 * 1024;

export class SpdyStream extends Duplex {
  readonly id: number;
  readonly headers: Headers;
  readonly #sink: StreamSink;
  #wanted: PromiseWithResolvers<void> | undefined;
  #remoteEnded = false;
  #reset = false;

  constructor(id: number, headers: Headers, sink: StreamSink) {
    super({ highWaterMark, allowHalfOpen: true });
    this.id = id;
    this.headers = headers;
    this.#sink = sink;
  }

  /** Takes data from the session; resolves when the stream's reader wants more. */
  async receive(data: Buffer, fin: boolean): Promise<void> {
    if (this.destroyed) return;
    if (this.#remoteEnded)
      throw new HuskError('invalid-argument', `SPDY stream "${this.id}": data after its end`, { stage: 'streaming' });
    const full = data.length > 0 && !this.push(data);
    if (fin) {
      this.#remoteEnded = true;
      this.push(null);
    } else if (full) {
      this.#wanted = Promise.withResolvers();
      await this.#wanted.promise;
    }
  }

  /** The peer reset the stream. */
  resetByPeer(): void {
    this.#reset = true;
    this.destroy();
  }

  override _read(): void {
    this.#wanted?.resolve();
    this.#wanted = undefined;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#sink.sendData(this.id, chunk, false, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#sink.sendData(this.id, Buffer.alloc(0), true, done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#wanted?.resolve();
    const finished = this.writableFinished && this.#remoteEnded;
    if (!finished && !this.#reset) this.#sink.sendReset(this.id);
    this.#sink.forget(this.id);
    done(error);
  }
}
