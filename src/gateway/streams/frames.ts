/**
 * Frames of the bulk channel as bytes and back (guest-agent/c/streams/port.h has the other end). Pure.
 *
 *     stream u32, type u8, channel u8, zero u16, length u32, payload[length]     little-endian
 *
 * What the host sends ends with a mark, the first 8 characters of the handshake's nonce: the guest
 * throws away a frame that a dead gateway left half written and another one's bytes completed.
 */
import { HuskError } from '../../base/errors.ts';

const headerBytes = 12;
export const markBytes = 8;
/** Largest payload, in bytes: with its header as much as the guest's driver takes in one write. */
export const maxPayloadBytes: number = 32_768 - headerBytes;
/** A whole frame of the host at most. */
export const maxFrameBytes: number = headerBytes + maxPayloadBytes + markBytes;
const maxTextBytes = 512;

const types = { hello: 0, open: 1, data: 2, end: 3, credit: 4, resize: 5, reset: 6, ready: 7 } as const;

/** 0 goes to the guest: standard input, or a socket. 1 and 2 come from it. */
export const channels = { input: 0, output: 1, error: 2 } as const;
export type OutputChannel = 1 | 2;

/** What a guest says. Data comes in pieces as they arrive. */
export type GuestFrame =
  | { readonly type: 'hello' }
  | { readonly type: 'ready'; readonly stream: number }
  | { readonly type: 'data'; readonly stream: number; readonly channel: OutputChannel; readonly data: Buffer }
  | { readonly type: 'end'; readonly stream: number; readonly channel: OutputChannel }
  | { readonly type: 'credit'; readonly stream: number; readonly bytes: number }
  | { readonly type: 'reset'; readonly stream: number; readonly reason: string };

/** Cuts a guest's bytes into frames. Holds less than a small frame; data is handed on in pieces. */
export class GuestFrameReader {
  #held: Buffer = Buffer.alloc(0);
  #data: { stream: number; channel: OutputChannel; left: number } | undefined;

  /**
   * The frames that end, or for data go on, in this chunk.
   * @throws HuskError `data-loss` for what no honest guest sends, and then for ever
   */
  *push(chunk: Buffer): Generator<GuestFrame> {
    let rest = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    this.#held = Buffer.alloc(0);
    while (rest.length > 0) {
      if (this.#data !== undefined) {
        const { stream, channel, left } = this.#data;
        const data = rest.subarray(0, left);
        rest = rest.subarray(data.length);
        this.#data = data.length === left ? undefined : { stream, channel, left: left - data.length };
        yield { type: 'data', stream, channel, data };
        continue;
      }
      const length = rest.length < headerBytes ? 0 : payloadLength(rest);
      const isData = rest[4] === types.data;
      if (rest.length < headerBytes + (isData ? 0 : length)) {
        this.#held = Buffer.from(rest);
        return;
      }
      const header = rest.subarray(0, headerBytes);
      const payload = rest.subarray(headerBytes, headerBytes + (isData ? 0 : length));
      rest = rest.subarray(headerBytes + payload.length);
      if (isData) this.#data = { stream: streamOf(header), channel: outputOf(header), left: length };
      else yield parse(header, payload);
    }
  }
}

function payloadLength(bytes: Buffer): number {
  const type = bytes.readUInt8(4);
  const length = bytes.readUInt32LE(8);
  const most = type === types.data ? maxPayloadBytes : type === types.reset ? maxTextBytes : 4;
  if (length > most || (type === types.data && length === 0)) throw frameError(`type ${type} with ${length} bytes`);
  if (bytes.readUInt16LE(6) !== 0) throw frameError('a reserved field is set');
  return length;
}

function parse(header: Buffer, payload: Buffer): GuestFrame {
  const type = header.readUInt8(4);
  switch (type) {
    case types.hello:
      return { type: 'hello' };
    case types.ready:
      return { type: 'ready', stream: streamOf(header) };
    case types.end:
      return { type: 'end', stream: streamOf(header), channel: outputOf(header) };
    case types.credit:
      if (payload.length !== 4 || header.readUInt8(5) !== channels.input) throw frameError('a credit for no input');
      return { type: 'credit', stream: streamOf(header), bytes: payload.readUInt32LE(0) };
    case types.reset:
      return { type: 'reset', stream: streamOf(header), reason: payload.toString('utf8') };
    default:
      throw frameError(`type ${type}`);
  }
}

function streamOf(header: Buffer): number {
  const stream = header.readUInt32LE(0);
  if (stream === 0) throw frameError('stream 0');
  return stream;
}

function outputOf(header: Buffer): OutputChannel {
  const channel = header.readUInt8(5);
  if (channel === channels.output || channel === channels.error) return channel;
  throw frameError(`channel ${channel}`);
}

function frameError(found: string): HuskError {
  return new HuskError('data-loss', `bulk channel: a frame with ${found}`, { stage: 'agent-protocol' });
}

/** Writes the frames of one session. */
export class HostFrameWriter {
  readonly mark: Buffer;

  /** @param nonce that of the session's handshake */
  constructor(nonce: string) {
    this.mark = Buffer.from(nonce.slice(0, markBytes), 'latin1');
  }

  /** Opens a stream for a process that the agent will join to it. */
  open(stream: number): Buffer {
    return this.#frame(stream, types.open, 0, Buffer.alloc(0));
  }

  /** Opens a stream to a TCP port on the pod's loopback. */
  dial(stream: number, port: number): Buffer {
    const payload = Buffer.alloc(2);
    payload.writeUInt16LE(port);
    return this.#frame(stream, types.open, 0, payload);
  }

  /** What goes before `length` bytes of input; the bytes themselves and the mark follow it. */
  dataHeader(stream: number, length: number): Buffer {
    return header(stream, types.data, channels.input, length);
  }

  /** No more input comes. */
  end(stream: number): Buffer {
    return this.#frame(stream, types.end, channels.input, Buffer.alloc(0));
  }

  /** Lets the guest send so many bytes more. */
  credit(stream: number, channel: OutputChannel, bytes: number): Buffer {
    const payload = Buffer.alloc(4);
    payload.writeUInt32LE(bytes);
    return this.#frame(stream, types.credit, channel, payload);
  }

  resize(stream: number, columns: number, rows: number): Buffer {
    const payload = Buffer.alloc(4);
    payload.writeUInt16LE(columns, 0);
    payload.writeUInt16LE(rows, 2);
    return this.#frame(stream, types.resize, 0, payload);
  }

  /** The host is done with the stream. */
  reset(stream: number): Buffer {
    return this.#frame(stream, types.reset, 0, Buffer.alloc(0));
  }

  #frame(stream: number, type: number, channel: number, payload: Buffer): Buffer {
    return Buffer.concat([header(stream, type, channel, payload.length), payload, this.mark]);
  }
}

function header(stream: number, type: number, channel: number, length: number): Buffer {
  const bytes = Buffer.alloc(headerBytes);
  bytes.writeUInt32LE(stream, 0);
  bytes.writeUInt8(type, 4);
  bytes.writeUInt8(channel, 5);
  bytes.writeUInt32LE(length, 8);
  return bytes;
}
