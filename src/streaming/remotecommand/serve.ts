/** Runs one exec or attach over streams that stand already, and says how it ended. Knows no transport. */
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import type { ExecTarget, ProcessStreams, StreamingRuntime, TerminalSize } from '../streaming-runtime.ts';
import { type Outcome, ResizeParser, statusText } from './protocol.ts';

export interface CommandRequest {
  readonly kind: 'exec' | 'attach';
  readonly target: ExecTarget;
}

export interface ClientStreams {
  readonly error: Writable;
  readonly stdin: Readable | undefined;
  readonly stdout: Writable | undefined;
  readonly stderr: Writable | undefined;
  readonly resize: Readable | undefined;
}

/** How long the last bytes and the status may take to reach a client that reads. */
const farewellMs = 30_000;

/**
 * Runs the command; when it is over, all output has been handed to the transport, then the status.
 *
 * @param signal fires when the client is gone
 */
export async function serveCommand(
  runtime: StreamingRuntime,
  request: CommandRequest,
  streams: ClientStreams,
  context: { readonly version: number; readonly signal: AbortSignal },
): Promise<void> {
  const outcome = await outcomeOf(runtime, request, streams, context.signal);
  if (context.signal.aborted) return;
  const deadline = AbortSignal.any([context.signal, AbortSignal.timeout(farewellMs)]);
  await Promise.all([streams.stdout, streams.stderr].map((stream) => ended(stream, deadline)));
  const status = statusText(outcome, context.version);
  if (status !== '') streams.error.write(status);
  await ended(streams.error, deadline);
}

async function outcomeOf(
  runtime: StreamingRuntime,
  { kind, target }: CommandRequest,
  streams: ClientStreams,
  signal: AbortSignal,
): Promise<Outcome> {
  const process: ProcessStreams = { ...streams, onResize: resizeListener(streams.resize) };
  try {
    if (kind === 'exec') return { exitCode: await runtime.exec(target, process, signal) };
    await runtime.attach(target, process, signal);
    return { exitCode: 0 };
  } catch (error) {
    return { error };
  }
}

/** Only the latest size is kept until somebody listens: a queue would grow with a client that floods (CVE-2022-23471). */
function resizeListener(resize: Readable | undefined): (listener: (size: TerminalSize) => void) => void {
  let latest: TerminalSize | undefined;
  let listener: ((size: TerminalSize) => void) | undefined;
  const parser = new ResizeParser();
  resize?.on('data', (chunk: Buffer) => {
    const size = parser.push(chunk);
    if (size === undefined) return;
    latest = size;
    listener?.(size);
  });
  return (added) => {
    listener = added;
    if (latest !== undefined) added(latest);
  };
}

async function ended(stream: Writable | undefined, signal: AbortSignal): Promise<void> {
  if (stream === undefined || stream.destroyed || stream.writableFinished) return;
  const finished = Promise.race([once(stream, 'finish', { signal }), once(stream, 'close', { signal })]);
  stream.end();
  // A client that is gone, or reads nothing, is not told: the connection is closed in any case.
  await finished.catch(() => undefined);
}
