/**
 * What the streaming server asks of native pods: answered by a process for each stream, which huskd started when it
 * gave the URL out. The gateway can ask it for nothing but the one thing that it was started for (ADR 0093).
 */
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ExecTarget, ProcessStreams, StreamingRuntime } from '../../streaming/streaming-runtime.ts';
import { Fifo } from './fifo.ts';
import { Inlet } from './inlet.ts';
import { NativeControl } from './native-control.ts';
import { nativePorts } from './native-ports.ts';

/** After the command ended, what it left running may hold its output open; silent for so long, it is not waited for. */
const strayOutputMs = 500;

/** @param folder of the process, with its socket and its FIFOs */
export function nativeStreamingRuntime(folder: string): StreamingRuntime {
  const command = (target: ExecTarget, streams: ProcessStreams, signal: AbortSignal): Promise<number> =>
    runCommand(folder, { target, streams, signal });
  return {
    exec: command,
    attach: async (target, streams, signal) => void (await command(target, streams, signal)),
    ...nativePorts(join(folder, 'control')),
  };
}

interface Command {
  readonly target: ExecTarget;
  readonly streams: ProcessStreams;
  readonly signal: AbortSignal;
}

async function runCommand(folder: string, { target, streams, signal }: Command): Promise<number> {
  const control = await NativeControl.open(join(folder, 'control'));
  const fifos: Fifo[] = [];
  // The connection first: an input that ends after it was broken off, and did not end.
  const close = (): void => {
    control.close();
    for (const fifo of fifos) fifo.close();
  };
  signal.addEventListener('abort', close, { once: true });
  try {
    const open = (wanted: boolean, name: string, way: 'read' | 'write'): Fifo | undefined => {
      if (!wanted) return undefined;
      const fifo = new Fifo(join(folder, name), way);
      fifos.push(fifo);
      return fifo;
    };
    const input = open(target.stdin, 'in', 'write');
    const [stdout, stderr] = [open(target.stdout, 'out', 'read'), open(target.stderr && !target.tty, 'err', 'read')];
    streams.onResize(({ width, height }) => control.resize(width, height));
    if (signal.aborted) close();
    // Read while the OCI runtime still ends. The other one it may need itself, to say why there is no process.
    const outputs = stdout === undefined ? [] : [new Output(stdout, streams.stdout)];
    await control.start();
    if (input !== undefined && streams.stdin !== undefined) pump(streams.stdin, input.open());
    if (stderr !== undefined) outputs.push(new Output(stderr, streams.stderr));
    const exitCode = await control.exit;
    await Promise.all(outputs.map((output) => output.end()));
    return exitCode;
  } finally {
    signal.removeEventListener('abort', close);
    close();
  }
}

/** Input may end, break or go on after the process: none of it is an error of the session. */
function pump(from: Readable, to: Writable): void {
  pipeline(from, to).catch(() => undefined);
}

/** One output on its way to the client. */
class Output {
  readonly #inlet = new Inlet();
  readonly #from: Socket;
  readonly #copied: Promise<boolean>;

  constructor(fifo: Fifo, to: Writable | undefined) {
    this.#from = fifo.open(this.#inlet.onread);
    this.#copied = this.#inlet.copy(this.#from, to);
  }

  /** The process has ended: waits until all that it wrote has been handed over. */
  async end(): Promise<void> {
    let before = this.#from.bytesRead;
    const timer = setInterval(() => {
      const silent = this.#from.bytesRead === before && !this.#inlet.waiting;
      before = this.#from.bytesRead;
      if (silent) this.#from.destroy();
    }, strayOutputMs);
    await this.#copied.finally(() => clearInterval(timer));
  }
}
