/**
 * SPDY/3.1 frames as bytes and back (SPDY draft 3.1, section 2.6). Pure.
 *
 * Flow control is left out on purpose: Kubernetes clients send no WINDOW_UPDATE and honour none;
 * back-pressure is TCP's.
 */
import { HuskError } from '../../base/errors.ts';

/** Control frames carry a few headers; Kubernetes' stay below 1 KiB (CVE-2026-35469 is about larger ones). */
export const maxControlFrameBytes: number = 64 * 1024;
const headerBytes = 8;
const version = 3;
const flagFin = 0x01;
const flagUnidirectional = 0x02;

export type Frame =
  | { readonly type: 'data'; readonly streamId: number; readonly fin: boolean; readonly data: Buffer }
  | {
      readonly type: 'syn-stream';
      readonly streamId: number;
      readonly associatedId: number;
      readonly fin: boolean;
      readonly unidirectional: boolean;
      readonly block: Buffer;
    }
  | { readonly type: 'syn-reply' | 'headers'; readonly streamId: number; readonly fin: boolean; readonly block: Buffer }
  | { readonly type: 'rst-stream'; readonly streamId: number; readonly status: number }
  | { readonly type: 'ping'; readonly id: number }
  | { readonly type: 'goaway'; readonly lastStreamId: number; readonly status: number }
  | { readonly type: 'settings' | 'window-update' | 'unknown' };

/** RST_STREAM status codes (section 2.6.3). */
export const rstStatus = { protocolError: 1, invalidStream: 2, refusedStream: 3, cancel: 5, internalError: 6 } as const;

const controlTypes = {
  synStream: 1,
  synReply: 2,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  headers: 8,
  windowUpdate: 9,
} as const;

/** Cuts a byte stream into frames. Data is handed on as it comes, in pieces; control frames are whole and capped. */
export class FrameReader {
  #held: Buffer = Buffer.alloc(0);
  #data: { streamId: number; fin: boolean; left: number } | undefined;

  /**
   * The frames that end, or for data go on, in this chunk.
   * @throws HuskError `invalid-argument` for what is not SPDY/3, and then for ever
   */
  *push(chunk: Buffer): Generator<Frame> {
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    for (;;) {
      const frame = this.#data === undefined ? this.#next() : this.#more();
      if (frame === undefined) return;
      yield frame;
    }
  }

  #more(): Frame | undefined {
    const open = this.#data as { streamId: number; fin: boolean; left: number };
    if (this.#held.length === 0 && open.left > 0) return undefined;
    const data = this.#take(Math.min(open.left, this.#held.length));
    open.left -= data.length;
    if (open.left > 0) return { type: 'data', streamId: open.streamId, fin: false, data };
    this.#data = undefined;
    return { type: 'data', streamId: open.streamId, fin: open.fin, data };
  }

  #next(): Frame | undefined {
    if (this.#held.length < headerBytes) return undefined;
    const first = this.#held.readUInt32BE(0);
    const flags = this.#held.readUInt8(4);
    const length = this.#held.readUIntBE(5, 3);
    if (first < 0x8000_0000) {
      if (first === 0) throw protocolError('data frame for stream 0');
      this.#take(headerBytes);
      this.#data = { streamId: first, fin: (flags & flagFin) !== 0, left: length };
      return this.#more();
    }
    if (((first >>> 16) & 0x7fff) !== version)
      throw protocolError(`version ${(first >>> 16) & 0x7fff}, wanted ${version}`);
    if (length > maxControlFrameBytes)
      throw protocolError(`control frame of ${length} bytes, at most ${maxControlFrameBytes}`);
    if (this.#held.length < headerBytes + length) return undefined;
    this.#take(headerBytes);
    return parseControl(first & 0xffff, flags, this.#take(length));
  }

  #take(bytes: number): Buffer {
    const taken = this.#held.subarray(0, bytes);
    this.#held = this.#held.subarray(bytes);
    return taken;
  }
}

function parseControl(type: number, flags: number, body: Buffer): Frame {
  const fin = (flags & flagFin) !== 0;
  switch (type) {
    case controlTypes.synStream:
      return {
        type: 'syn-stream',
        streamId: streamIdAt(body, 0, 10),
        associatedId: body.readUInt32BE(4) & 0x7fff_ffff,
        fin,
        unidirectional: (flags & flagUnidirectional) !== 0,
        block: body.subarray(10),
      };
    case controlTypes.synReply:
      return { type: 'syn-reply', streamId: streamIdAt(body, 0, 4), fin, block: body.subarray(4) };
    case controlTypes.headers:
      return { type: 'headers', streamId: streamIdAt(body, 0, 4), fin, block: body.subarray(4) };
    case controlTypes.rstStream:
      return { type: 'rst-stream', streamId: streamIdAt(body, 0, 8), status: body.readUInt32BE(4) };
    case controlTypes.ping:
      return { type: 'ping', id: wordAt(body, 0, 4) };
    case controlTypes.goaway:
      return { type: 'goaway', lastStreamId: wordAt(body, 0, 8) & 0x7fff_ffff, status: body.readUInt32BE(4) };
    case controlTypes.settings:
      return { type: 'settings' };
    case controlTypes.windowUpdate:
      return { type: 'window-update' };
    default:
      return { type: 'unknown' };
  }
}

function streamIdAt(body: Buffer, at: number, least: number): number {
  const id = wordAt(body, at, least) & 0x7fff_ffff;
  if (id === 0) throw protocolError('control frame for stream 0');
  return id;
}

function wordAt(body: Buffer, at: number, least: number): number {
  if (body.length < least) throw protocolError(`control frame of ${body.length} bytes, at least ${least}`);
  return body.readUInt32BE(at);
}

/** @returns the error for bytes that are not SPDY/3 */
export function protocolError(found: string): HuskError {
  return new HuskError('invalid-argument', `read SPDY frame: ${found}`, { stage: 'streaming' });
}

/** The 8 bytes before `length` bytes of data; the data itself need not be copied. */
export function dataHeader(streamId: number, length: number, fin: boolean): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt32BE(streamId, 0);
  header.writeUInt8(fin ? flagFin : 0, 4);
  header.writeUIntBE(length, 5, 3);
  return header;
}

/** Largest data frame that the 24-bit length can say. */
export const maxDataFrameBytes: number = 2 ** 24 - 1;

/** A control frame. */
export function encodeControl(
  frame: Exclude<Frame, { type: 'data' | 'settings' | 'window-update' | 'unknown' }>,
): Buffer {
  switch (frame.type) {
    case 'syn-stream': {
      const flags = (frame.fin ? flagFin : 0) | (frame.unidirectional ? flagUnidirectional : 0);
      return control(
        controlTypes.synStream,
        flags,
        words(frame.streamId, frame.associatedId),
        Buffer.alloc(2),
        frame.block,
      );
    }
    case 'syn-reply':
      return control(controlTypes.synReply, frame.fin ? flagFin : 0, words(frame.streamId), frame.block);
    case 'headers':
      return control(controlTypes.headers, frame.fin ? flagFin : 0, words(frame.streamId), frame.block);
    case 'rst-stream':
      return control(controlTypes.rstStream, 0, words(frame.streamId, frame.status));
    case 'ping':
      return control(controlTypes.ping, 0, words(frame.id));
    case 'goaway':
      return control(controlTypes.goaway, 0, words(frame.lastStreamId, frame.status));
    default:
      throw new HuskError('internal', `encode SPDY frame "${JSON.stringify(frame satisfies never)}": no such frame`);
  }
}

function control(type: number, flags: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const header = Buffer.alloc(headerBytes);
  header.writeUInt16BE(0x8000 | version, 0);
  header.writeUInt16BE(type, 2);
  header.writeUInt8(flags, 4);
  header.writeUIntBE(body.length, 5, 3);
  return Buffer.concat([header, body]);
}

function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, index * 4);
  return bytes;
}
