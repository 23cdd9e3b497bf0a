/** The server's end of one SPDY/3.1 connection, over any Duplex: a socket, or a WebSocket tunnel. */
import type { Duplex } from 'node:stream';
import { HuskError } from '../../base/errors.ts';
import {
  dataHeader,
  encodeControl,
  type Frame,
  FrameReader,
  maxDataFrameBytes,
  protocolError,
  rstStatus,
} from './frames.ts';
import { HeaderReader, HeaderWriter } from './header-block.ts';
import { SpdyStream } from './stream.ts';

export interface SessionOptions {
  readonly connection: Duplex;
  /** Open streams at a time; further ones are refused. */
  readonly maxStreams: number;
  /**
   * A stream that the client opened. Throwing, or returning false, resets it.
   * The stream is answered before this is called.
   */
  readonly onStream: (stream: SpdyStream) => boolean;
}

/** How long a client may take for what waits for it, or for a part of it. */
const connectionFullMs = 60_000;

export class SpdySession {
  /** Settles when the connection is over; rejects with what was wrong with it. */
  readonly closed: Promise<void>;
  readonly #options: SessionOptions;
  readonly #frames = new FrameReader();
  readonly #headersIn = new HeaderReader();
  readonly #headersOut = new HeaderWriter();
  readonly #streams = new Map<number, SpdyStream>();
  #lastStreamId = 0;
  #closing = false;
  #stuck: NodeJS.Timeout | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
    options.connection.on('error', () => undefined);
    this.closed = this.#serve();
    this.closed.catch(() => undefined);
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  /** Says goodbye and ends the connection once everything written has left. */
  async close(): Promise<void> {
    if (this.#closing) return this.closed.catch(() => undefined);
    this.#closing = true;
    const { connection } = this.#options;
    if (!connection.destroyed) {
      connection.write(encodeControl({ type: 'goaway', lastStreamId: this.#lastStreamId, status: 0 }));
      connection.end();
    }
    await this.closed.catch(() => undefined);
  }

  async #serve(): Promise<void> {
    const { connection } = this.#options;
    try {
      for await (const chunk of connection) {
        for (const frame of this.#frames.push(chunk as Buffer)) await this.#handle(frame);
      }
    } catch (caught) {
      if (!this.#closing || caught instanceof HuskError) throw caught;
    } finally {
      for (const stream of this.#streams.values()) stream.destroy();
      this.#headersIn.close();
      this.#headersOut.close();
      connection.destroy();
      clearTimeout(this.#stuck);
    }
  }

  async #handle(frame: Frame): Promise<void> {
    switch (frame.type) {
      case 'data':
        return this.#streams.get(frame.streamId)?.receive(frame.data, frame.fin);
      case 'syn-stream':
        return this.#open(frame);
      case 'rst-stream':
        return this.#streams.get(frame.streamId)?.resetByPeer();
      case 'ping':
        // Odd ids are the client's own and come back; even ones would be answers to ours, and we send none.
        return frame.id % 2 === 1 ? this.#send(encodeControl(frame)) : undefined;
      case 'syn-reply':
      case 'headers':
        // Nothing in them is used, but they move the state of the decompressor.
        await this.#headersIn.read(frame.block);
        return;
      case 'goaway':
      case 'settings':
      case 'window-update':
      case 'unknown':
        return;
      default:
        throw protocolError(`frame ${JSON.stringify(frame satisfies never)}`);
    }
  }

  async #open(frame: Frame & { type: 'syn-stream' }): Promise<void> {
    const { streamId, block, fin } = frame;
    const headers = await this.#headersIn.read(block);
    if (streamId % 2 === 0 || streamId <= this.#lastStreamId)
      throw protocolError(`stream ${streamId} after ${this.#lastStreamId}`);
    this.#lastStreamId = streamId;
    if (this.#streams.size >= this.#options.maxStreams || this.#closing) {
      return this.#send(encodeControl({ type: 'rst-stream', streamId, status: rstStatus.refusedStream }));
    }
    const stream = new SpdyStream(streamId, headers, {
      sendData: (id, data, last, done) => this.#sendData(id, data, last, done),
      sendReset: (id) =>
        void this.#send(encodeControl({ type: 'rst-stream', streamId: id, status: rstStatus.cancel })).catch(
          () => undefined,
        ),
      forget: (id) => this.#streams.delete(id),
    });
    stream.on('error', () => undefined);
    this.#streams.set(streamId, stream);
    await this.#send(
      encodeControl({ type: 'syn-reply', streamId, fin: false, block: await this.#headersOut.write(new Map()) }),
    );
    if (fin) await stream.receive(Buffer.alloc(0), true);
    if (!this.#options.onStream(stream)) stream.destroy();
  }

  /** Calls back when the system has the bytes: until then they stay the sender's, and are not to be changed. */
  #sendData(streamId: number, data: Buffer, fin: boolean, done: (error?: Error | null) => void): void {
    const { connection } = this.#options;
    if (!isOpen(connection)) return done(closedError());
    const taken = (error?: Error | null): void => {
      this.#tookSome();
      done(error);
    };
    // Headers and bytes leave in one system call.
    connection.cork();
    let rest = data;
    while (rest.length > maxDataFrameBytes) {
      connection.write(dataHeader(streamId, maxDataFrameBytes, false));
      connection.write(rest.subarray(0, maxDataFrameBytes));
      rest = rest.subarray(maxDataFrameBytes);
    }
    const header = dataHeader(streamId, rest.length, fin);
    if (rest.length === 0) connection.write(header, taken);
    else {
      connection.write(header);
      connection.write(rest, taken);
    }
    connection.uncork();
    this.#watch();
  }

  async #send(bytes: Buffer): Promise<void> {
    const { connection } = this.#options;
    if (!isOpen(connection)) throw closedError();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const more = connection.write(bytes, (error) => {
      this.#tookSome();
      if (error instanceof Error) reject(error);
      else resolve();
    });
    promise.catch(() => undefined);
    this.#watch();
    if (!more) await promise;
  }

  /** A client that takes nothing for a minute is closed. */
  #watch(): void {
    const { connection } = this.#options;
    if (!connection.writableNeedDrain || connection.destroyed) return;
    this.#stuck ??= setTimeout(() => {
      const message = `send on a SPDY connection: the client read nothing for ${connectionFullMs} ms`;
      connection.destroy(new HuskError('unavailable', message, { stage: 'streaming' }));
    }, connectionFullMs);
  }

  #tookSome(): void {
    if (this.#options.connection.writableLength > 0) return void this.#stuck?.refresh();
    clearTimeout(this.#stuck);
    this.#stuck = undefined;
  }
}

function isOpen(connection: Duplex): boolean {
  return !connection.destroyed && !connection.writableEnded;
}

function closedError(): HuskError {
  return new HuskError('unavailable', 'send on a SPDY connection: it is closed', { stage: 'streaming' });
}
