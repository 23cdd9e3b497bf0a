import { rm, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import type { ServerWritableStream } from '@grpc/grpc-js';
import { HuskError } from '../../../src/base/errors.ts';
import type { ExecMessage, ExecRequest } from '../../../src/gen/agent/v1/agent.ts';
import { dropCgroup, killCgroup, makeCgroup } from '../cgroup.ts';
import { closeWriters } from '../fifos.ts';
import type { Pod } from '../pod.ts';
import { execProcess } from '../spec.ts';

type Call = ServerWritableStream<ExecRequest, ExecMessage>;

/** After the command ended, what it left running may hold its output open. */
const strayOutputMs = 500;

/** Exec: output in chunks, then the result. A cancelled call, or the timeout, kills all that it started. */
export async function exec(pod: Pod, call: Call): Promise<void> {
  const { containerId, command, timeoutMs, tty } = call.request;
  const container = pod.container(containerId);
  if (command.length === 0) throw new HuskError('invalid-argument', 'command: must not be empty');
  if (tty) throw new HuskError('unimplemented', 'tty: terminals are not there yet');
  if (container.state !== 'running') {
    throw new HuskError('failed-precondition', `exec in container "${containerId}": it is ${container.state}, wanted running`);
  }
  const name = `exec-${container.nextExec()}`;
  const cgroup = `${container.parts.cgroup}/${name}`;
  const processFile = `${container.parts.folder}/${name}.json`;
  const fifos = await pod.fifos.open(2);
  makeCgroup(cgroup);
  let timedOut = false;
  const onTimeout = (): void => {
    timedOut = true;
    killCgroup(cgroup);
  };
  const timer = timeoutMs === 0n ? undefined : setTimeout(onTimeout, Number(timeoutMs));
  call.on('cancelled', () => killCgroup(cgroup));
  try {
    await writeFile(processFile, JSON.stringify(execProcess(container.parts.spec, command)));
    const [out, err] = fifos;
    if (out === undefined || err === undefined) throw new HuskError('internal', 'open the output of an exec: no FIFOs');
    const copied = Promise.all([copy(out.output, call, 'stdout'), copy(err.output, call, 'stderr')]);
    const pidFile = `${container.parts.folder}/${name}.pid`;
    const running = pod.runtime.exec({ id: containerId, processFile, pidFile, cgroup: name }, ['ignore', out.writeFd, err.writeFd]);
    closeWriters(fifos);
    const exitCode = await running;
    await Promise.race([copied, new Promise((resolve) => setTimeout(resolve, strayOutputMs))]);
    out.output.destroy();
    err.output.destroy();
    call.write({ kind: { $case: 'result', value: { exitCode, timedOut } } });
    call.end();
  } finally {
    clearTimeout(timer);
    await rm(processFile, { force: true });
    await rm(`${container.parts.folder}/${name}.pid`, { force: true });
    dropCgroup(cgroup);
  }
}

/** Copies an output to the call; reads on when the call takes more. */
function copy(source: Socket, call: Call, stream: 'stdout' | 'stderr'): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  source.on('data', (bytes: Buffer) => {
    if (call.write({ kind: { $case: stream, value: bytes } })) return;
    source.pause();
    call.once('drain', () => source.resume());
  });
  source.on('close', resolve);
  source.resume();
  return promise;
}

