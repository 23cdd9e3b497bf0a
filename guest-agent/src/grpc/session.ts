/**
 * One HTTP/2 connection of a gRPC client (RFC 9113), and no more of HTTP/2 than gRPC needs. The client is the
 * gateway: it is trusted by the guest, so that whatever does not fit ends the connection, and a new one is made.
 */
import type { Socket } from 'node:net';
import { HuskError } from '../../../src/base/errors.ts';
import { Call } from './call.ts';
import { HeaderDecoder } from './hpack.ts';

export const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
export const frameHead = 9;
export const types = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  window: 8,
  continuation: 9,
} as const;
export const flags = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 0x20 } as const;
const settingIds = { initialWindow: 4, maxFrame: 5 } as const;
/** What both sides begin with (section 6.5.2). */
const firstWindow = 65_535;
const defaultMaxFrame = 16_384;
/** Largest block of headers that is put together from its parts. */
const maxHeaderBytes = 16_384;
/** Given back to the client when so much of a window is used up. */
const creditBytes = firstWindow >> 1;

/** What a new stream wants. */
export type Route = (call: Call, path: string) => void;

/** Serves the calls of one connection until it closes. */
export class Session {
  readonly #socket: Socket;
  readonly #route: Route;
  readonly #calls = new Map<number, Call>();
  readonly #decoder = new HeaderDecoder();
  #input: Buffer = Buffer.alloc(0);
  #greeted = false;
  #headers: { readonly stream: number; readonly ended: boolean; block: Buffer } | undefined;
  #peerWindow = firstWindow;
  #peerFrame = defaultMaxFrame;
  /** Bytes that the client may still send us, over all streams. */
  #used = 0;
  /** Bytes that we may still send, over all streams. */
  sendWindow = firstWindow;

  constructor(socket: Socket, route: Route) {
    this.#socket = socket;
    this.#route = route;
    // Nothing depends on what the client says, so that it may lie ready before there is a client.
    socket.write(frame(types.settings, 0, 0, Buffer.alloc(0)));
    socket.on('data', (bytes: Buffer) => this.#receive(bytes));
    socket.on('drain', () => this.#pump());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      for (const call of this.#calls.values()) call.cancel();
      this.#calls.clear();
    });
  }

  /** Largest frame that the client takes. */
  get maxFrame(): number {
    return this.#peerFrame;
  }

  /** Whether more written now would pile up here. */
  get full(): boolean {
    return this.#socket.writableNeedDrain || this.#socket.destroyed;
  }

  writeHeaders(stream: number, block: Buffer, ended: boolean): void {
    this.#write(frame(types.headers, flags.endHeaders | (ended ? flags.endStream : 0), stream, block));
  }

  writeData(stream: number, bytes: Buffer): void {
    this.sendWindow -= bytes.length;
    this.#write(frame(types.data, 0, stream, bytes));
  }

  /** Several frames as one write. */
  cork(work: () => void): void {
    this.#socket.cork();
    try {
      work();
    } finally {
      this.#socket.uncork();
    }
  }

  /** The call needs its stream no more; a client that still sends is told to stop. */
  finish(call: Call): void {
    this.#calls.delete(call.stream);
    // NO_ERROR: the answer is complete without the rest of the request (section 8.1).
    if (!call.remoteEnded) this.#write(frame(types.reset, 0, call.stream, Buffer.alloc(4)));
  }

  /** The call has taken so many bytes: the client may send as many more on its stream. */
  credit(call: Call, bytes: number): void {
    if (!call.remoteEnded) this.#grant(call.stream, bytes);
  }

  #write(bytes: Buffer): void {
    if (!this.#socket.destroyed) this.#socket.write(bytes);
  }

  #grant(stream: number, bytes: number): void {
    const increment = Buffer.alloc(4);
    increment.writeUInt32BE(bytes);
    this.#write(frame(types.window, 0, stream, increment));
  }

  #pump(): void {
    for (const call of this.#calls.values()) call.pump();
  }

  #receive(bytes: Buffer): void {
    try {
      this.#input = this.#input.length === 0 ? bytes : Buffer.concat([this.#input, bytes]);
      if (!this.#greeted && !this.#greet()) return;
      this.cork(() => this.#frames());
    } catch (caught) {
      this.#socket.destroy(HuskError.from(caught));
    }
  }

  #greet(): boolean {
    if (this.#input.length < preface.length) return false;
    if (this.#input.toString('latin1', 0, preface.length) !== preface) throw violation('no HTTP/2 preface');
    this.#input = this.#input.subarray(preface.length);
    this.#greeted = true;
    return true;
  }

  #frames(): void {
    for (;;) {
      if (this.#input.length < frameHead) return;
      const length = this.#input.readUIntBE(0, 3);
      if (length > defaultMaxFrame) throw violation(`a frame of ${length} bytes`);
      if (this.#input.length < frameHead + length) return;
      const type = this.#input[3] as number;
      const flag = this.#input[4] as number;
      const stream = this.#input.readUInt32BE(5) & 0x7fff_ffff;
      const body = this.#input.subarray(frameHead, frameHead + length);
      this.#input = this.#input.subarray(frameHead + length);
      if (this.#headers !== undefined && type !== types.continuation) throw violation('headers that break off');
      this.#frame(type, flag, stream, body);
    }
  }

  /** Of a type that is not known, nothing is to be made (section 4.1). */
  #frame(type: number, flag: number, stream: number, body: Buffer): void {
    if (type === types.data) this.#onData(flag, stream, body);
    else if (type === types.headers) this.#onHeaders(flag, stream, body);
    else if (type === types.continuation) this.#onContinuation(flag, stream, body);
    else if (type === types.reset) this.#onReset(stream);
    else if (type === types.settings) this.#onSettings(flag, body);
    else if (type === types.ping && (flag & flags.ack) === 0) this.#write(frame(types.ping, flags.ack, 0, body));
    else if (type === types.window) this.#onWindow(stream, body);
  }

  #onData(flag: number, stream: number, body: Buffer): void {
    this.#used += body.length;
    if (this.#used >= creditBytes) {
      this.#grant(0, this.#used);
      this.#used = 0;
    }
    // The stream may be over while its last frames were on their way.
    this.#calls.get(stream)?.receive(unpadded(flag, body), (flag & flags.endStream) !== 0, body.length);
  }

  #onHeaders(flag: number, stream: number, body: Buffer): void {
    const block = unpadded(flag, body).subarray((flag & flags.priority) === 0 ? 0 : 5);
    this.#headers = { stream, ended: (flag & flags.endStream) !== 0, block };
    if ((flag & flags.endHeaders) !== 0) this.#open();
  }

  #onContinuation(flag: number, stream: number, body: Buffer): void {
    const headers = this.#headers;
    if (headers === undefined || headers.stream !== stream || headers.block.length + body.length > maxHeaderBytes)
      throw violation('a continuation of nothing, or without end');
    headers.block = Buffer.concat([headers.block, body]);
    if ((flag & flags.endHeaders) !== 0) this.#open();
  }

  #open(): void {
    const { stream, ended, block } = this.#headers as { stream: number; ended: boolean; block: Buffer };
    this.#headers = undefined;
    const path = this.#decoder.decode(block).get(':path') ?? '';
    const known = this.#calls.get(stream);
    // Trailers of a client mean nothing but the end.
    if (known !== undefined) return known.receive(Buffer.alloc(0), ended, 0);
    const call = new Call(this, stream, this.#peerWindow);
    this.#calls.set(stream, call);
    this.#route(call, path);
    if (ended) call.receive(Buffer.alloc(0), true, 0);
  }

  #onReset(stream: number): void {
    const call = this.#calls.get(stream);
    this.#calls.delete(stream);
    call?.cancel();
  }

  #onSettings(flag: number, body: Buffer): void {
    if ((flag & flags.ack) !== 0) return;
    for (let at = 0; at + 6 <= body.length; at += 6) {
      const value = body.readUInt32BE(at + 2);
      const id = body.readUInt16BE(at);
      if (id === settingIds.maxFrame) this.#peerFrame = value;
      if (id === settingIds.initialWindow) {
        for (const call of this.#calls.values()) call.sendWindow += value - this.#peerWindow;
        this.#peerWindow = value;
      }
    }
    this.#write(frame(types.settings, flags.ack, 0, Buffer.alloc(0)));
    this.#pump();
  }

  #onWindow(stream: number, body: Buffer): void {
    const bytes = body.readUInt32BE(0) & 0x7fff_ffff;
    if (stream === 0) {
      this.sendWindow += bytes;
      return this.#pump();
    }
    const call = this.#calls.get(stream);
    if (call === undefined) return;
    call.sendWindow += bytes;
    call.pump();
  }
}

export function frame(type: number, flag: number, stream: number, body: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(frameHead + body.length);
  bytes.writeUIntBE(body.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flag;
  bytes.writeUInt32BE(stream, 5);
  bytes.set(body, frameHead);
  return bytes;
}

function unpadded(flag: number, body: Buffer): Buffer {
  if ((flag & flags.padded) === 0) return body;
  const padding = body[0] ?? 0;
  if (padding >= body.length) throw violation('padding longer than its frame');
  return body.subarray(1, body.length - padding);
}

function violation(what: string): HuskError {
  return new HuskError('data-loss', `HTTP/2 of the gateway: ${what}`);
}
