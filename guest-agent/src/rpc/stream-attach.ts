import { closeSync, constants, openSync, unlinkSync } from 'node:fs';
import { HuskError } from '../../../src/base/errors.ts';
import type { StreamAttachRequest, StreamAttachResponse } from '../../../src/gen/agent/v1/agent.ts';
import type { Container } from '../container.ts';
import type { OutputStream } from '../output-stream.ts';
import type { Pod } from '../pod.ts';
import type { StreamHandle } from '../streams.ts';
import { Tap } from '../tap.ts';

/** What the client has not taken after the container's end is given up when nothing moves for so long. */
const lastOutputMs = 500;
/** The same in the foreground, where a slow reader loses nothing: the longest that a timer can wait. */
const patientMs = 2 ** 31 - 1;

/** StreamAttach: joins a stream with a running container. Several may be joined at once; each gets what is written from now on. */
export async function streamAttach(pod: Pod, request: StreamAttachRequest): Promise<StreamAttachResponse> {
  const container = pod.container(request.containerId);
  if (request.stream === undefined) throw new HuskError('invalid-argument', 'stream: must be set');
  if (container.state === 'exited')
    throw new HuskError('failed-precondition', `attach to container "${container.parts.id}": it has exited`);
  const { stdout, stderr, console, foreground } = container.parts;
  const input = inputOf(container, request);
  const names = await pod.fifos.take(2);
  const wanted = { output: request.stdout, error: request.stderr && console === undefined };
  const output = wanted.output ? names[0] : undefined;
  const error = wanted.error ? names[1] : undefined;
  const taps: Tap[] = [];
  let handle: StreamHandle | undefined;
  try {
    // Before the input is joined: what answers it must find them there.
    const outputs = tapAll(taps, foreground, [
      [output, stdout],
      [error, stderr],
    ]);
    handle = await pod.streams.join(request.stream, { input, output, error }).finally(() => outputs.joined());
    if (request.stdin) container.inputJoined();
    handle.onSize((columns, rows) => console?.setSize(columns, rows));
    container.markAttached();
    await Promise.race([Promise.all([container.ended, outputs.ended]), handle.gone]);
    await handle.drain(foreground ? patientMs : lastOutputMs);
    return {};
  } finally {
    for (const tap of taps) tap.close();
    for (const name of names) unlinkSync(name);
    handle?.close();
  }
}

interface TappedOutputs {
  /** Resolves when all have ended. */
  readonly ended: Promise<unknown>;
  /** husk-streams reads them. */
  joined(): void;
}

/** Copies outputs into FIFOs that nobody reads yet. */
function tapAll(
  taps: Tap[],
  foreground: boolean,
  outputs: readonly (readonly [path: string | undefined, from: OutputStream])[],
): TappedOutputs {
  const endings: Promise<void>[] = [];
  // Without a reader a FIFO cannot be opened for writing.
  const readers: number[] = [];
  const joined = (): void => {
    for (const fd of readers.splice(0)) closeSync(fd);
  };
  try {
    for (const [path, from] of outputs) {
      if (path === undefined) continue;
      readers.push(openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
      const tap = new Tap(path, foreground);
      taps.push(tap);
      endings.push(from.tap(tap));
    }
  } catch (caught) {
    joined();
    throw caught;
  }
  return { ended: Promise.all(endings), joined };
}

function inputOf(container: Container, { stdin }: StreamAttachRequest): string | undefined {
  if (!stdin) return undefined;
  const { inputPath } = container;
  if (inputPath !== undefined) return inputPath;
  throw new HuskError(
    'failed-precondition',
    `attach to the standard input of container "${container.parts.id}": it has none, or it was closed after the first client (stdin_once)`,
  );
}
