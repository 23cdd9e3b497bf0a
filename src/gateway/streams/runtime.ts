/** What the streaming server asks of pods, answered by their guests: bytes over the bulk channel, control over the agent. */
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { HuskError } from '../../base/errors.ts';
import type { ExecTarget, ProcessStreams, StreamingRuntime } from '../../streaming/streaming-runtime.ts';
import { checkExitCode } from '../check/answers.ts';
import type { Vm } from '../guest/vm.ts';
import { copyOutput } from './copy-output.ts';
import type { GuestStream } from './guest-stream.ts';
import { joinDuplex } from './join-duplex.ts';

/** A loopback connection takes less than a millisecond; a full backlog takes this long to be given up. */
const dialMs = 30_000;

/** @param find the VM of a pod; throws when it is not attached */
export function guestStreamingRuntime(find: (sandboxId: string) => Vm): StreamingRuntime {
  return {
    async exec(target, streams, signal) {
      const { containerId, command, tty, stdin, stdout, stderr } = target;
      const vm = find(target.sandboxId);
      return await withStream(vm, signal, async (stream, nonce) => {
        const request = { containerId, command: [...command], tty, stdin, stdout, stderr: stderr && !tty };
        const ended = vm.call(
          'streamExec',
          { ...request, stream: { nonce, stream: stream.id } },
          { timeoutMs: Infinity, signal, check: ({ exitCode }) => checkExitCode(exitCode) },
        );
        const [exitCode] = await Promise.all([ended, copy(target, streams, { stream, ended, signal })]);
        return exitCode;
      });
    },
    async attach(target, streams, signal) {
      const { containerId, tty, stdin, stdout, stderr } = target;
      const vm = find(target.sandboxId);
      await withStream(vm, signal, async (stream, nonce) => {
        const ended = vm.call(
          'streamAttach',
          { containerId, stdin, stdout, stderr: stderr && !tty, stream: { nonce, stream: stream.id } },
          { timeoutMs: Infinity, signal, check: () => undefined },
        );
        await Promise.all([ended, copy(target, streams, { stream, ended, signal })]);
      });
    },
    async portForward(sandboxId, port, client, signal) {
      const stream = await withDial(find(sandboxId), port);
      const abort = (): void => stream.close();
      signal.addEventListener('abort', abort, { once: true });
      try {
        await joinDuplex(client, stream.input, pipeline(stream.output, client));
      } finally {
        signal.removeEventListener('abort', abort);
        stream.close();
      }
    },
  };
}

/** A stream for a process, closed in the end; closed at once when the client goes, which the process outlives. */
async function withStream<T>(
  vm: Vm,
  signal: AbortSignal,
  work: (stream: GuestStream, nonce: string) => Promise<T>,
): Promise<T> {
  const link = await vm.bulkLink();
  const stream = link.stream();
  const abort = (): void => stream.close();
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    return await work(stream, link.nonce);
  } finally {
    signal.removeEventListener('abort', abort);
    stream.close();
  }
}

interface Running {
  readonly stream: GuestStream;
  /** Settles when the guest has answered. */
  readonly ended: Promise<unknown>;
  readonly signal: AbortSignal;
}

/** Copies both ways until the guest's outputs have ended. What the client sends on is not waited for. */
async function copy(target: ExecTarget, client: ProcessStreams, { stream, ended, signal }: Running): Promise<void> {
  client.onResize(({ width, height }) => stream.resize(width, height));
  // A call that failed in the guest never joins the stream.
  ended.catch(() => stream.close());
  if (client.stdin !== undefined) pump(client.stdin, stream);
  const outputs: Promise<void>[] = [];
  if (target.stdout && client.stdout !== undefined) outputs.push(copyOutput(stream.output, client.stdout));
  if (target.stderr && !target.tty && client.stderr !== undefined)
    outputs.push(copyOutput(stream.error, client.stderr));
  try {
    await Promise.all(outputs);
  } catch (caught) {
    // The guest's own words come first; else the link was lost.
    await ended;
    if (!signal.aborted) throw HuskError.from(caught, 'streaming');
  }
}

/** Input may end, break or go on after the process: none of it is an error of the session. */
function pump(from: Readable, stream: GuestStream): void {
  pipeline(from, stream.input).catch(() => undefined);
}

async function withDial(vm: Vm, port: number): Promise<GuestStream> {
  const stream = (await vm.bulkLink()).stream(port);
  const timer = setTimeout(() => stream.close(), dialMs);
  try {
    await stream.ready;
    return stream;
  } catch (cause) {
    stream.close();
    const text = HuskError.from(cause).message;
    throw new HuskError('unavailable', `failed to connect to localhost:${port} inside the pod: ${text}`, {
      cause,
      stage: 'port-forward',
    });
  } finally {
    clearTimeout(timer);
  }
}
