/** port-forward over SPDY, on a socket or inside a WebSocket tunnel: pairs of an error and a data stream. */
import type { Duplex } from 'node:stream';
import { HuskError } from '../../base/errors.ts';
import { SpdySession } from '../spdy/session.ts';
import type { SpdyStream } from '../spdy/stream.ts';
import type { StreamingRuntime } from '../streaming-runtime.ts';

/** Two streams a connection; 500 connections through one client. */
const maxStreams = 1000;
const pairMs = 30_000;

interface Pair {
  error?: SpdyStream;
  data?: SpdyStream;
  readonly timer: NodeJS.Timeout;
}

/** Serves one connection until the client ends it. */
export async function portForwardOverSpdy(
  runtime: StreamingRuntime,
  sandboxId: string,
  connection: Duplex,
): Promise<void> {
  const pairs = new Map<string, Pair>();
  const gone = new AbortController();
  connection.on('error', () => undefined);
  await runtime.portSession?.(sandboxId, gone.signal);
  const session = new SpdySession({
    connection,
    maxStreams,
    onStream: (stream) => {
      const type = stream.headers.get('streamtype');
      const port = parsePort(stream.headers.get('port'));
      if ((type !== 'error' && type !== 'data') || port === undefined) return false;
      const id = requestId(stream, type);
      const pair = pairs.get(id) ?? { timer: setTimeout(() => drop(pairs, id), pairMs) };
      if (pair[type] !== undefined) return false;
      pair[type] = stream;
      pairs.set(id, pair);
      if (pair.error !== undefined && pair.data !== undefined) {
        clearTimeout(pair.timer);
        pairs.delete(id);
        void forward(runtime, { sandboxId, port, error: pair.error, data: pair.data }, gone.signal);
      }
      return true;
    },
  });
  try {
    await session.closed;
  } finally {
    gone.abort();
    for (const id of [...pairs.keys()]) drop(pairs, id);
  }
}

interface Forward {
  readonly sandboxId: string;
  readonly port: number;
  readonly error: SpdyStream;
  readonly data: SpdyStream;
}

async function forward(
  runtime: StreamingRuntime,
  { sandboxId, port, error, data }: Forward,
  signal: AbortSignal,
): Promise<void> {
  error.resume();
  try {
    await runtime.portForward(sandboxId, port, data, signal);
    error.end();
  } catch (caught) {
    error.end(`error forwarding port ${port} to pod ${sandboxId}, uid : ${HuskError.from(caught).message}`);
    data.destroy();
  }
}

/** Old clients send no request id: their data stream follows the error stream. */
function requestId(stream: SpdyStream, type: 'error' | 'data'): string {
  return stream.headers.get('requestid') ?? `stream ${type === 'error' ? stream.id : stream.id - 2}`;
}

function drop(pairs: Map<string, Pair>, id: string): void {
  const pair = pairs.get(id);
  pairs.delete(id);
  clearTimeout(pair?.timer);
  pair?.error?.destroy();
  pair?.data?.destroy();
}

/** A TCP port in decimal. */
export function parsePort(text: string | undefined): number | undefined {
  const port = Number(text);
  return text !== undefined && /^\d{1,5}$/.test(text) && port >= 1 && port <= 65_535 ? port : undefined;
}
