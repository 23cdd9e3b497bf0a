/** exec and attach over WebSocket: each message starts with the number of its channel. */
import { Readable, Writable } from 'node:stream';
import type { WebSocket } from 'ws';
import type { StreamingRuntime } from '../streaming-runtime.ts';
import { type ChannelCodec, channels, decode, encode, halfClose } from './channels.ts';
import { type CommandRequest, serveCommand } from './serve.ts';

/** RFC 6455, section 7.4.1. */
const closeCodes = { normal: 1000, protocolError: 1002, unsupportedData: 1003 } as const;
const readAheadBytes = 256 * 1024;

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

/** Half-closes of version 5 are the client's alone: clients in Go report one that comes as an unknown stream. */
function outbound(socket: WebSocket, channel: number, codec: ChannelCodec): Writable {
  const send = (message: Buffer | string, done: (error?: Error | null) => void): void => {
    if (socket.readyState !== socket.OPEN) done(new Error('the client is gone'));
    else socket.send(message, done);
  };
  const writable = new Writable({
    highWaterMark: readAheadBytes,
    write: (chunk: Buffer, _encoding, done) => send(encode(channel, chunk, codec), done),
  });
  writable.on('error', () => undefined);
  return writable;
}
