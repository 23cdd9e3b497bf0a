/** The client of a direct run: joins this process's standard streams with a container's, over the gateway. */
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { WebSocket } from 'ws';
import { HuskError } from '../../base/errors.ts';
import { channels, halfClose } from '../../streaming/remotecommand/channels.ts';

const protocol = 'v5.channel.k8s.io';
const connectMs = 20_000;
/** As kubectl's: the server takes no message of more than a mebibyte. */
const messageBytes = 32 * 1024;
/** The server ends connections on which nothing comes for hours; a container may well be silent for so long. */
const pingMs = 600_000;

export interface ClientStreams {
  /** Undefined: the container has no standard input. */
  readonly stdin: Readable | undefined;
  readonly stdout: Writable;
  readonly stderr: Writable;
}

export interface Attachment {
  /**
   * Resolves when all output has been handed over.
   * @throws HuskError `unavailable` when the connection broke; what the output's own streams throw
   */
  readonly done: Promise<void>;
  resize(columns: number, rows: number): void;
  close(): void;
}

/** Connects. @throws HuskError `unavailable` */
export async function attachStreams(url: string, streams: ClientStreams, signal: AbortSignal): Promise<Attachment> {
  const socket = new WebSocket(url.replace(/^http/, 'ws'), protocol, {
    handshakeTimeout: connectMs,
    perMessageDeflate: false,
  });
  const status: Buffer[] = [];
  const received = receive(socket, streams, status);
  received.catch(() => undefined);
  try {
    await once(socket, 'open', { signal });
  } catch (cause) {
    socket.terminate();
    throw new HuskError('unavailable', `attach to the container: ${String(cause)}`, { cause, stage: 'attach' });
  }
  if (streams.stdin !== undefined) void send(socket, streams.stdin);
  return {
    done: received.then((code) => checkEnd(code, status)),
    resize: (columns, rows) => {
      const size = JSON.stringify({ Width: columns, Height: rows });
      if (socket.readyState === socket.OPEN) socket.send(Buffer.from(String.fromCharCode(channels.resize) + size));
    },
    close: () => socket.terminate(),
  };
}

/** Writes what comes, no faster than it is taken. @returns the code with which the server closed */
async function receive(socket: WebSocket, streams: ClientStreams, status: Buffer[]): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const waiting = new Set<Writable>();
  const pinging = setInterval(() => socket.readyState === socket.OPEN && socket.ping(), pingMs);
  socket.on('error', () => undefined);
  socket.on('close', (code) => {
    clearInterval(pinging);
    resolve(code);
  });
  for (const out of new Set([streams.stdout, streams.stderr])) {
    out.once('error', (caught) => {
      reject(caught);
      socket.terminate();
    });
  }
  socket.on('message', (data: Buffer) => {
    const [channel, content] = [data[0], data.subarray(1)];
    if (channel === channels.error) status.push(content);
    const out = channel === channels.stdout ? streams.stdout : channel === channels.stderr ? streams.stderr : undefined;
    if (out === undefined || content.length === 0 || out.write(content) || waiting.has(out)) return;
    waiting.add(out);
    socket.pause();
    out.once('drain', () => {
      waiting.delete(out);
      if (waiting.size === 0) socket.resume();
    });
  });
  const code = await promise;
  await Promise.all([flush(streams.stdout), flush(streams.stderr)]);
  return code;
}

function flush(out: Writable): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  out.write('', (error) => (error ? reject(error) : resolve()));
  return promise;
}

/** Sends the input to its end, then says that it has ended. It may go on after the container. */
async function send(socket: WebSocket, stdin: Readable): Promise<void> {
  const stdinChannel = Buffer.from([channels.stdin]);
  try {
    for await (const chunk of stdin as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length; at += messageBytes) {
        await sendMessage(socket, Buffer.concat([stdinChannel, chunk.subarray(at, at + messageBytes)]));
      }
    }
    await sendMessage(socket, Buffer.from([halfClose, channels.stdin]));
  } catch {
    // The container has ended, which is told elsewhere, or the input broke: an end as well.
    if (socket.readyState === socket.OPEN) socket.send(Buffer.from([halfClose, channels.stdin]));
  }
}

function sendMessage(socket: WebSocket, message: Buffer): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.send(message, (error) => (error ? reject(error) : resolve()));
  return promise;
}

function checkEnd(code: number, status: readonly Buffer[]): void {
  const normal = 1000;
  const text = Buffer.concat(status).toString('utf8');
  if (code === normal && text.includes('"Success"')) return;
  const why = text === '' ? `the connection ended with code ${code}` : text.slice(0, 800);
  throw new HuskError('unavailable', `streams of the container: ${why}`, { stage: 'attach' });
}
