/** exec and attach over SPDY: collect the streams that the client opens, then run. */
import type { Duplex } from 'node:stream';
import { withDeadline } from '../../base/deadline.ts';
import { HuskError } from '../../base/errors.ts';
import { SpdySession } from '../spdy/session.ts';
import type { SpdyStream } from '../spdy/stream.ts';
import type { StreamingRuntime } from '../streaming-runtime.ts';
import { expectedStreams, type StreamName } from './protocol.ts';
import { type CommandRequest, serveCommand } from './serve.ts';

/** As the reference server has it: a client opens its streams one after the other, waiting for each answer. */
const streamCreationMs = 30_000;

/** Serves one connection to its end. Rejects when the client broke the protocol. */
export async function commandOverSpdy(
  runtime: StreamingRuntime,
  request: CommandRequest,
  connection: Duplex,
  version: number,
): Promise<void> {
  const names = expectedStreams(request.target, version);
  const found = new Map<string, SpdyStream>();
  const complete = Promise.withResolvers<void>();
  const session = new SpdySession({
    connection,
    maxStreams: names.length,
    onStream: (stream) => {
      const type = stream.headers.get('streamtype') ?? '';
      if (!names.includes(type as StreamName) || found.has(type)) return false;
      found.set(type, stream);
      if (found.size === names.length) complete.resolve();
      return true;
    },
  });
  const gone = new AbortController();
  const over = session.closed.finally(() => gone.abort());
  over.catch(() => undefined);
  try {
    await withDeadline('streams of the client', streamCreationMs, undefined, () =>
      Promise.race([complete.promise, over.then(() => Promise.reject(clientGone()))]),
    );
    const [error, stdin, stdout, stderr, resize] = (['error', 'stdin', 'stdout', 'stderr', 'resize'] as const).map(
      (name) => found.get(name),
    );
    if (error === undefined) return;
    await serveCommand(runtime, request, { error, stdin, stdout, stderr, resize }, { version, signal: gone.signal });
  } finally {
    await session.close();
  }
}

function clientGone(): HuskError {
  return new HuskError('cancelled', 'wait for the streams of the client: it is gone', { stage: 'streaming' });
}
