import { basename } from 'node:path';
import type { ServerWritableStream } from '@grpc/grpc-js';
import { HuskError } from '../../../src/base/errors.ts';
import type { ExecMessage, ExecRequest } from '../../../src/gen/agent/v1/agent.ts';
import { execProcess } from '../../../src/oci/complete-spec.ts';
import { killCgroup } from '../cgroup.ts';
import type { Container } from '../container.ts';
import type { ExecWish } from '../exec-request.ts';
import type { ProcessExit } from '../exits.ts';
import { closeWriters, type OpenFifo } from '../fifos.ts';
import { OutputCopy, type Sink } from '../output-copy.ts';
import type { Pod } from '../pod.ts';

type Call = ServerWritableStream<ExecRequest, ExecMessage>;

/** After the command ended, what it left running may hold its output open; silent for so long, it is not waited for. */
const strayOutputMs = 500;
const maxTimerMs = 2 ** 31 - 1;

/**
 * Exec: output in chunks, then the result. The timeout counts from the start of the process, and
 * it, or a cancelled call, kills all that the process started: an exec has a cgroup of its own.
 */
export async function exec(pod: Pod, call: Call): Promise<void> {
  const container = checkRequest(pod, call.request);
  const cgroup = container.execCgroups.take();
  const files = `${container.parts.folder}/${basename(cgroup)}`;
  const timeoutMs = Math.min(Number(call.request.timeoutMs), maxTimerMs);
  const kill = (): void => void killCgroup(cgroup);
  call.on('cancelled', kill);
  let timer: NodeJS.Timeout | undefined;
  let timedOut = false;
  try {
    const fifos = await pod.fifos.open(2);
    const process = execProcess(container.parts.target.spec, call.request.command);
    const ended = await start(pod, container, { files, cgroup, process }, fifos);
    const copies = fifos.map(
      ({ output }, index) => new OutputCopy(output, sinkOf(call, index === 0 ? 'stdout' : 'stderr')),
    );
    if (timeoutMs > 0) {
      timer = setTimeout(() => {
        timedOut = true;
        killCgroup(cgroup);
      }, timeoutMs);
    }
    // A call that was cancelled before its process was in the cgroup has killed nothing yet.
    if (call.cancelled) kill();
    const { exitCode } = await ended.exit;
    for (const copy of copies) copy.stopWhenIdle(strayOutputMs);
    // Nobody reads any more: a copy that waits for the reader would wait for ever.
    if (call.cancelled) for (const copy of copies) copy.stop();
    else call.once('cancelled', () => copies.forEach((copy) => copy.stop()));
    await Promise.all(copies.map(({ done }) => done));
    call.write({ kind: { $case: 'result', value: { exitCode, timedOut } } });
    call.end();
  } finally {
    clearTimeout(timer);
    // grpc-js tells every end of a call as a cancellation too: what runs on is not to be killed by it.
    call.off('cancelled', kill);
    container.execCgroups.give(cgroup);
  }
}

function checkRequest(pod: Pod, { containerId, command, tty }: ExecRequest): Container {
  const container = pod.container(containerId);
  if (command.length === 0) throw new HuskError('invalid-argument', 'command: must not be empty');
  if (tty) throw new HuskError('unimplemented', 'tty: terminals are not there yet');
  if (container.state === 'running') return container;
  throw new HuskError(
    'failed-precondition',
    `exec in container "${containerId}": it is ${container.state}, wanted running`,
  );
}

/** The exit is wrapped, or waiting for the start would wait for the end. */
function start(
  pod: Pod,
  container: Container,
  { files, ...wish }: Omit<ExecWish, 'streams'> & { readonly files: string },
  fifos: readonly OpenFifo[],
): Promise<{ readonly exit: Promise<ProcessExit> }> {
  return pod.exits.expect(async () => {
    const [out, err] = fifos;
    if (out === undefined || err === undefined) throw new HuskError('internal', 'open the output of an exec: no FIFOs');
    try {
      const streams = [-1, out.writeFd, err.writeFd] as const;
      const pid = await pod.runtime.exec(container.parts.target, files, { ...wish, streams });
      return { exit: pod.exits.exitOf(pid) };
    } catch (caught) {
      for (const { output } of fifos) output.destroy();
      throw caught;
    } finally {
      closeWriters(fifos);
    }
  });
}

function sinkOf(call: Call, stream: 'stdout' | 'stderr'): Sink {
  return {
    write: (bytes) => call.write({ kind: { $case: stream, value: bytes } }),
    whenReady: (callback) => call.once('drain', callback),
  };
}
