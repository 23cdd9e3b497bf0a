/** exec and attach over WebSocket: each message starts with the number of its channel. */
import { Readable, Writable } from 'node:stream';
import type { WebSocket } from 'ws';
import type { StreamingRuntime } from '../streaming-runtime.ts';
import { type CommandRequest, serveCommand } from './serve.ts';

const channels = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4 } as const;
/** Version 5: this number, and behind it the channel whose sender has ended. */
const halfClose = 255;
/** RFC 6455, section 7.4.1. */
const closeCodes = { normal: 1000, protocolError: 1002, unsupportedData: 1003 } as const;
const readAheadBytes = 256 * 1024;

export interface ChannelCodec {
  readonly base64: boolean;
  /** Whether half-closes are understood: version 5. */
  readonly halfClose: boolean;
}

/** Serves one connection to its end. */
export async function commandOverWebSocket(
  runtime: StreamingRuntime,
  request: CommandRequest,
  socket: WebSocket,
  codec: ChannelCodec,
): Promise<void> {
  const { target } = request;
  const stdin = target.stdin ? inbound(socket) : undefined;
  const resize = target.tty ? inbound(socket) : undefined;
  const gone = new AbortController();
  socket.on('error', () => undefined);
  socket.on('close', () => {
    gone.abort();
    stdin?.push(null);
    resize?.push(null);
  });
  socket.on('message', (data: Buffer, isBinary: boolean) => {
    if (isBinary === codec.base64) return socket.close(closeCodes.unsupportedData, 'wrong kind of message');
    const { channel, content } = decode(data, codec);
    if (channel === halfClose && codec.halfClose)
      return content[0] === channels.stdin ? void stdin?.push(null) : undefined;
    const reader = channel === channels.stdin ? stdin : channel === channels.resize ? resize : undefined;
    if (reader === undefined) return socket.close(closeCodes.protocolError, `channel ${channel}`);
    if (content.length > 0 && !reader.readableEnded && !reader.push(content)) socket.pause();
  });
  const stdout = target.stdout ? outbound(socket, channels.stdout, codec) : undefined;
  const stderr = target.stderr && !target.tty ? outbound(socket, channels.stderr, codec) : undefined;
  const error = outbound(socket, channels.error, codec);
  // Clients take the first message, empty and on the lowest channel they read, as the sign that the server is ready.
  socket.send(encode(stdout ? channels.stdout : stderr ? channels.stderr : channels.error, Buffer.alloc(0), codec));
  const streams = { error, stdin, stdout, stderr, resize };
  await serveCommand(runtime, request, streams, { version: codec.halfClose ? 5 : 4, signal: gone.signal });
  socket.close(closeCodes.normal);
}

function inbound(socket: WebSocket): Readable {
  return new Readable({ highWaterMark: readAheadBytes, read: () => socket.resume() });
}

/** A half-close of ours is sent at the end of each channel in version 5. */
function outbound(socket: WebSocket, channel: number, codec: ChannelCodec): Writable {
  const send = (message: Buffer | string, done: (error?: Error | null) => void): void => {
    if (socket.readyState !== socket.OPEN) done(new Error('the client is gone'));
    else socket.send(message, done);
  };
  const writable = new Writable({
    highWaterMark: readAheadBytes,
    write: (chunk: Buffer, _encoding, done) => send(encode(channel, chunk, codec), done),
    final: (done) => (codec.halfClose ? send(Buffer.from([halfClose, channel]), () => done()) : done()),
  });
  writable.on('error', () => undefined);
  return writable;
}

function encode(channel: number, content: Buffer, codec: ChannelCodec): Buffer | string {
  if (codec.base64) return `${channel}${content.toString('base64')}`;
  return Buffer.concat([Buffer.from([channel]), content]);
}

function decode(data: Buffer, codec: ChannelCodec): { channel: number; content: Buffer } {
  const first = data[0] ?? -1;
  if (!codec.base64) return { channel: first, content: data.subarray(1) };
  return { channel: first - 0x30, content: Buffer.from(data.toString('latin1', 1), 'base64') };
}
