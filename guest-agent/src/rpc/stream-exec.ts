import { closeSync, constants, openSync, rmSync, unlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { HuskError } from '../../../src/base/errors.ts';
import { type UndoStack, undoing } from '../../../src/base/undo.ts';
import type { StreamExecRequest, StreamExecResponse, StreamRef } from '../../../src/gen/agent/v1/agent.ts';
import { execProcess } from '../../../src/oci/complete-spec.ts';
import { killCgroup } from '../cgroup.ts';
import type { Container } from '../container.ts';
import type { ExecWish } from '../exec-request.ts';
import type { ProcessExit } from '../exits.ts';
import type { Pod } from '../pod.ts';
import type { StreamHandle } from '../streams.ts';

/** After the command ended, what it left running may hold its output open; silent for so long, it is not waited for. */
const strayOutputMs = 500;

interface Started {
  readonly handle: StreamHandle;
  readonly exit: Promise<ProcessExit>;
}

/**
 * StreamExec: a command whose bytes husk-streams moves. It lives as long as it wants: neither the end of
 * the call nor that of the client is an end of the command.
 */
export async function streamExec(pod: Pod, request: StreamExecRequest): Promise<StreamExecResponse> {
  const { container, stream } = check(pod, request);
  const cgroup = container.execCgroups.take();
  try {
    const process = execProcess(container.parts.target.spec, request.command, request.tty);
    const plan = {
      container,
      stream,
      files: `${container.parts.folder}/${basename(cgroup)}`,
      wish: { process, cgroup },
    };
    const { handle, exit } = await undoing((undo) => {
      undo.add('processes', () => void killCgroup(cgroup));
      return request.tty ? startOnTerminal(pod, plan, undo) : startOnFifos(pod, plan, request, undo);
    });
    const { exitCode } = await exit;
    await handle.drain(strayOutputMs);
    handle.close();
    return { exitCode };
  } finally {
    container.execCgroups.give(cgroup);
  }
}

function check(pod: Pod, request: StreamExecRequest): { container: Container; stream: StreamRef } {
  const container = pod.container(request.containerId);
  if (request.command.length === 0) throw new HuskError('invalid-argument', 'command: must not be empty');
  if (request.stream === undefined) throw new HuskError('invalid-argument', 'stream: must be set');
  if (container.state === 'running') return { container, stream: request.stream };
  throw new HuskError(
    'failed-precondition',
    `exec in container "${container.parts.id}": it is ${container.state}, wanted running`,
  );
}

interface Plan {
  readonly container: Container;
  readonly stream: StreamRef;
  /** Path for files that are made on the way. */
  readonly files: string;
  readonly wish: Pick<ExecWish, 'process' | 'cgroup'>;
}

async function startOnTerminal(pod: Pod, plan: Plan, undo: UndoStack): Promise<Started> {
  const consoleSocket = pod.consoleSocket();
  undo.add('console socket', () => rmSync(consoleSocket, { force: true }));
  const handle = await pod.streams.terminal(plan.stream, consoleSocket);
  undo.add('stream', () => handle.close());
  const started = await start(pod, plan, { consoleSocket, streams: [-1, -1, -1] });
  return { handle, ...started };
}

async function startOnFifos(pod: Pod, plan: Plan, wanted: StreamExecRequest, undo: UndoStack): Promise<Started> {
  const names = await pod.fifos.take(3);
  const pick = (index: number, asked: boolean): string | undefined => (asked ? names[index] : undefined);
  const [input, output, error] = [pick(0, wanted.stdin), pick(1, wanted.stdout), pick(2, wanted.stderr)];
  const opened: number[] = [];
  const open = (path: string | undefined, flags: number): number => {
    if (path === undefined) return -1;
    const fd = openSync(path, flags);
    opened.push(fd);
    return fd;
  };
  try {
    // A first reader, or the other side could not open the input for writing.
    open(input, constants.O_RDONLY | constants.O_NONBLOCK);
    const handle = await pod.streams.join(plan.stream, { input, output, error });
    undo.add('stream', () => handle.close());
    const streams = [
      open(input, constants.O_RDONLY),
      open(output, constants.O_WRONLY),
      open(error, constants.O_WRONLY),
    ] as const;
    return { handle, ...(await start(pod, plan, { streams })) };
  } finally {
    for (const fd of opened) closeSync(fd);
    for (const name of names) unlinkSync(name);
  }
}

/** The exit is wrapped, or waiting for the start would wait for the end. */
function start(
  pod: Pod,
  { container, files, wish }: Plan,
  streams: Pick<ExecWish, 'streams' | 'consoleSocket'>,
): Promise<{ readonly exit: Promise<ProcessExit> }> {
  return pod.exits.expect(async () => {
    const pid = await pod.runtime.exec(container.parts.target, files, { ...wish, ...streams });
    return { exit: pod.exits.exitOf(pid) };
  });
}
