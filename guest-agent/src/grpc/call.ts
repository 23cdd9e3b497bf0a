/** One call of a gRPC client: messages on an HTTP/2 stream, then a status (gRPC over HTTP/2, PROTOCOL-HTTP2.md). */
import { EventEmitter } from 'node:events';
import { HuskError } from '../../../src/base/errors.ts';
import { encodeHeaders } from './hpack.ts';
import type { Session } from './session.ts';

/** The part of grpc-js's ServiceDefinition that is used here. */
export interface Method {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestDeserialize: (bytes: Buffer) => unknown;
  readonly responseSerialize: (message: never) => Buffer;
}

export interface Status {
  readonly code: number;
  readonly details: string;
}

/** What a unary handler answers with. */
export type Callback = (error: Status | null, response?: unknown) => void;
type Handler = (call: Call, callback: Callback) => void;

/** Codes of gRPC that this layer gives by itself. */
export const statusCodes = { ok: 0, unknown: 2, resourceExhausted: 8, unimplemented: 12, internal: 13 } as const;

const messageHead = 5;
/** Given back to the client when so much of the stream's window is used up. */
const creditBytes = 32_768;
const responseHeaders = [
  [':status', '200'],
  ['content-type', 'application/grpc'],
] as const;
const headersBlock = encodeHeaders(responseHeaders);
const okBlock = encodeHeaders([['grpc-status', '0']]);

/**
 * What a handler is given. It has the names and events of grpc-js's server calls, as far as they are used:
 * `request`, `write`, `end`, `cancelled`, and the events `data`, `end`, `cancelled`, `drain`; an
 * `error` that is emitted on it is the call's status. Unlike there, `cancelled` is told of those alone.
 */
export class Call extends EventEmitter {
  readonly stream: number;
  /** The one message of a call that has one. */
  request: unknown;
  cancelled = false;
  remoteEnded = false;
  /** Bytes that we may send on this stream. */
  sendWindow: number;
  readonly #session: Session;
  #method: Method | undefined;
  #handler: Handler = () => {};
  #maxMessageBytes = 0;
  #input: Buffer = Buffer.alloc(0);
  #messages: unknown[] = [];
  #paused = false;
  #taken = 0;
  #output: Buffer[] = [];
  #wantsDrain = false;
  #headersSent = false;
  #status: Status | undefined;
  #closed = false;

  constructor(session: Session, stream: number, sendWindow: number) {
    super();
    this.stream = stream;
    this.sendWindow = sendWindow;
    this.#session = session;
    this.on('error', (status: Status) => this.#finish(status));
  }

  /** Hands the call to its method: at once when the client streams, else when its message is there. */
  serve(method: Method, maxMessageBytes: number, handler: Handler): void {
    this.#method = method;
    this.#handler = handler;
    this.#maxMessageBytes = maxMessageBytes;
    if (method.requestStream) this.#start();
  }

  /** Ends the call without a method. */
  refuse(status: Status): void {
    this.#finish(status);
  }

  /** Sends a message. False: wait for `drain` before the next one. */
  write(message: unknown): boolean {
    if (this.#closed || this.#status !== undefined) return false;
    this.#push(message);
    this.pump();
    this.#wantsDrain = this.#output.length > 0 || this.#session.full;
    return !this.#wantsDrain;
  }

  /** Ends the call well, once everything is sent. */
  end(): void {
    this.#finish({ code: statusCodes.ok, details: '' });
  }

  /** Messages wait, and the client's window is not opened any further. */
  pause(): this {
    this.#paused = true;
    return this;
  }

  resume(): this {
    this.#paused = false;
    this.#deliver();
    return this;
  }

  /** The client, or its connection, is gone. */
  cancel(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#output = [];
    this.cancelled = true;
    this.emit('cancelled', 'cancelled');
  }

  /**
   * Takes bytes of the stream.
   * @param frameBytes what they count in the client's window
   */
  receive(bytes: Buffer, ended: boolean, frameBytes: number): void {
    if (this.#closed) return;
    this.#taken += frameBytes;
    this.remoteEnded ||= ended;
    if (this.#method === undefined) return;
    this.#input = this.#input.length === 0 ? bytes : Buffer.concat([this.#input, bytes]);
    try {
      this.#parse(this.#method);
    } catch (caught) {
      return this.#finish({ code: statusCodes.internal, details: HuskError.from(caught).message });
    }
    this.#deliver();
  }

  /** Sends what the windows allow. */
  pump(): void {
    while (!this.#closed && this.#output.length > 0 && !this.#session.full) {
      const room = Math.min(this.sendWindow, this.#session.sendWindow, this.#session.maxFrame);
      if (room <= 0) return;
      const [first] = this.#output as [Buffer];
      const piece = first.length <= room ? first : first.subarray(0, room);
      if (piece === first) this.#output.shift();
      else this.#output[0] = first.subarray(room);
      this.sendWindow -= piece.length;
      this.#session.writeData(this.stream, piece);
    }
    if (this.#closed || this.#output.length > 0) return;
    if (this.#status !== undefined) return this.#close(this.#status);
    if (!this.#wantsDrain || this.#session.full) return;
    this.#wantsDrain = false;
    this.emit('drain');
  }

  #parse(method: Method): void {
    while (this.#input.length >= messageHead) {
      const length = this.#input.readUInt32BE(1);
      if (this.#input[0] !== 0) throw new HuskError('data-loss', 'gRPC message: it is compressed');
      if (length > this.#maxMessageBytes) {
        return this.#finish({
          code: statusCodes.resourceExhausted,
          details: `message of ${length} bytes: at most ${this.#maxMessageBytes} are taken`,
        });
      }
      if (this.#input.length < messageHead + length) return;
      this.#messages.push(method.requestDeserialize(this.#input.subarray(messageHead, messageHead + length)));
      this.#input = this.#input.subarray(messageHead + length);
    }
  }

  #deliver(): void {
    if (this.#method?.requestStream === true) {
      while (!this.#paused && !this.#closed && this.#messages.length > 0) this.emit('data', this.#messages.shift());
      if (this.#paused || this.#closed) return;
      if (this.remoteEnded && this.#messages.length === 0) this.emit('end');
    } else if (this.remoteEnded) {
      this.request = this.#messages[0];
      if (this.#messages.length === 1) this.#start();
      else this.#finish({ code: statusCodes.internal, details: `${this.#messages.length} messages: wanted one` });
      return;
    }
    if (this.#taken < creditBytes) return;
    this.#session.credit(this, this.#taken);
    this.#taken = 0;
  }

  #start(): void {
    this.#handler(this, (error, response) => {
      if (error !== null) return this.#finish(error);
      if (this.#closed) return undefined;
      return this.#session.cork(() => {
        this.#push(response);
        this.end();
      });
    });
  }

  #push(message: unknown): void {
    const serialize = (this.#method as Method).responseSerialize as (message: unknown) => Buffer;
    const body = serialize(message);
    const bytes = Buffer.allocUnsafe(messageHead + body.length);
    bytes[0] = 0;
    bytes.writeUInt32BE(body.length, 1);
    bytes.set(body, messageHead);
    if (!this.#headersSent) {
      this.#headersSent = true;
      this.#session.writeHeaders(this.stream, headersBlock, false);
    }
    this.#output.push(bytes);
  }

  #finish(status: Status): void {
    if (this.#closed || this.#status !== undefined) return;
    this.#status = status;
    // A call that failed has nothing more to say; one that ended well says all.
    if (status.code !== statusCodes.ok) this.#output = [];
    this.pump();
  }

  #close({ code, details }: Status): void {
    this.#closed = true;
    const trailers = [['grpc-status', String(code)] as const, ['grpc-message', percentEncoded(details)] as const];
    const block = code === statusCodes.ok ? okBlock : encodeHeaders(trailers);
    this.#session.writeHeaders(this.stream, this.#headersSent ? block : Buffer.concat([headersBlock, block]), true);
    this.#session.finish(this);
  }
}

/** gRPC: bytes outside of visible ASCII, and the percent sign, as `%XX`. */
function percentEncoded(text: string): string {
  return Array.from(Buffer.from(text.slice(0, 4_096)), (byte) =>
    byte >= 0x20 && byte <= 0x7e && byte !== 0x25
      ? String.fromCharCode(byte)
      : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`,
  ).join('');
}
