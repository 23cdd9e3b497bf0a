/** What a container's first process gets as its standard streams, and what is held of them. */
import { closeSync, constants, openSync, rmSync, unlinkSync } from 'node:fs';
import { HuskError } from '../../src/base/errors.ts';
import type { CreateContainerRequest } from '../../src/gen/agent/v1/agent.ts';
import { ContainerInput } from './container-input.ts';
import { closeWriters, fifoReader } from './fifos.ts';
import type { Stdio } from './oci-runtime.ts';
import { OutputStream } from './output-stream.ts';
import type { Pod } from './pod.ts';
import type { StreamHandle } from './streams.ts';

export interface ContainerStreams {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly input: ContainerInput | undefined;
  /** Its terminal, where it has one. */
  readonly console: StreamHandle | undefined;
}

export interface ContainerStdio {
  /** For the process. */
  readonly descriptors: Stdio;
  /** Where its terminal is awaited, if it wants one. */
  readonly consoleSocket: string | undefined;
  readonly streams: ContainerStreams;
  /** The process has its descriptors, or never will. */
  handOver(): void;
  /** The container was not made. */
  close(): void;
}

export async function openStdio(
  pod: Pod,
  request: Pick<CreateContainerRequest, 'stdin' | 'stdinOnce' | 'tty'>,
): Promise<ContainerStdio> {
  const [path] = request.stdin ? await pod.fifos.take(1) : [];
  const input = path === undefined ? undefined : new ContainerInput(path, request.stdinOnce);
  try {
    return request.tty ? await openTerminal(pod, input) : await openFifos(pod, input);
  } catch (caught) {
    input?.close();
    throw caught;
  }
}

async function openFifos(pod: Pod, input: ContainerInput | undefined): Promise<ContainerStdio> {
  const fifos = await pod.fifos.open(2);
  const [out, err] = fifos;
  if (out === undefined || err === undefined)
    throw new HuskError('internal', 'open the output of a container: no FIFOs');
  const stdinFd = input?.openForContainer();
  const changed = (): void => pod.events.changed();
  const [stdout, stderr] = [new OutputStream(out.output, changed), new OutputStream(err.output, changed)];
  return {
    descriptors: [stdinFd ?? 'ignore', out.writeFd, err.writeFd],
    consoleSocket: undefined,
    streams: { stdout, stderr, input, console: undefined },
    handOver: () => {
      closeWriters(fifos);
      if (stdinFd !== undefined) closeSync(stdinFd);
      input?.handedOver();
    },
    close: () => {
      stdout.end();
      stderr.end();
      input?.close();
    },
  };
}

/** husk-streams holds the terminal: it gives its output as a FIFO, as if the container wrote to one, and feeds it the input's. */
async function openTerminal(pod: Pod, input: ContainerInput | undefined): Promise<ContainerStdio> {
  const [path] = await pod.fifos.take(1);
  const [none] = await pod.fifos.open(1);
  if (path === undefined || none === undefined)
    throw new HuskError('internal', 'open the output of a container: no FIFOs');
  const consoleSocket = pod.consoleSocket();
  const readFd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const console = await pod.streams.console(consoleSocket, input?.path, path).catch((caught: unknown) => {
    closeSync(readFd);
    throw caught;
  });
  unlinkSync(path);
  input?.handedOver();
  // A terminal has one output: the other stream has ended before it began.
  closeWriters([none]);
  const changed = (): void => pod.events.changed();
  const output = fifoReader(readFd);
  const [stdout, stderr] = [new OutputStream(output, changed), new OutputStream(none.output, changed)];
  const close = (): void => {
    stdout.end();
    stderr.end();
    input?.close();
    console.close();
  };
  return {
    descriptors: ['ignore', 'ignore', 'ignore'],
    consoleSocket,
    streams: { stdout, stderr, input, console },
    handOver: () => rmSync(consoleSocket, { force: true }),
    close,
  };
}
