import { closeSync, constants, openSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { HuskError } from '../../../src/base/errors.ts';
import { type UndoStack, undoing } from '../../../src/base/undo.ts';
import type { StreamExecRequest, StreamExecResponse, StreamRef } from '../../../src/gen/agent/v1/agent.ts';
import { execProcess } from '../../../src/oci/complete-spec.ts';
import { dropCgroup, killCgroup, makeCgroup } from '../cgroup.ts';
import type { Container } from '../container.ts';
import type { ProcessExit } from '../exits.ts';
import type { Stdio } from '../oci-runtime.ts';
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
  const name = `exec-${container.nextExec()}`;
  const cgroup = `${container.parts.cgroup}/${name}`;
  const files = `${container.parts.folder}/${name}`;
  makeCgroup(cgroup);
  try {
    const process = execProcess(container.parts.spec, request.command, request.tty);
    writeFileSync(`${files}.json`, JSON.stringify(process));
    const run = { files, cgroup: name };
    const { handle, exit } = await undoing((undo) => {
      undo.add('processes', () => killCgroup(cgroup));
      return request.tty
        ? startOnTerminal(pod, container.parts.id, { run, stream }, undo)
        : startOnFifos(pod, container.parts.id, { run, stream, wanted: request }, undo);
    });
    const { exitCode } = await exit;
    await handle.drain(strayOutputMs);
    handle.close();
    return { exitCode };
  } finally {
    for (const suffix of ['json', 'pid']) rmSync(`${files}.${suffix}`, { force: true });
    dropCgroup(cgroup);
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
  readonly run: { readonly files: string; readonly cgroup: string };
  readonly stream: StreamRef;
}

async function startOnTerminal(pod: Pod, id: string, { run, stream }: Plan, undo: UndoStack): Promise<Started> {
  const consoleSocket = pod.consoleSocket();
  undo.add('console socket', () => rmSync(consoleSocket, { force: true }));
  const handle = await pod.streams.terminal(stream, consoleSocket);
  undo.add('stream', () => handle.close());
  const exit = await started(pod, id, { ...run, consoleSocket }, ['ignore', 'ignore', 'ignore']);
  return { handle, ...exit };
}

async function startOnFifos(
  pod: Pod,
  id: string,
  { run, stream, wanted }: Plan & { readonly wanted: StreamExecRequest },
  undo: UndoStack,
): Promise<Started> {
  const names = await pod.fifos.take(3);
  const pick = (index: number, asked: boolean): string | undefined => (asked ? names[index] : undefined);
  const [input, output, error] = [pick(0, wanted.stdin), pick(1, wanted.stdout), pick(2, wanted.stderr)];
  const opened: number[] = [];
  const open = (path: string | undefined, flags: number): number | 'ignore' => {
    if (path === undefined) return 'ignore';
    const fd = openSync(path, flags);
    opened.push(fd);
    return fd;
  };
  try {
    // A first reader, or the other side could not open the input for writing.
    open(input, constants.O_RDONLY | constants.O_NONBLOCK);
    const handle = await pod.streams.join(stream, { input, output, error });
    undo.add('stream', () => handle.close());
    const stdio: Stdio = [
      open(input, constants.O_RDONLY),
      open(output, constants.O_WRONLY),
      open(error, constants.O_WRONLY),
    ];
    return { handle, ...(await started(pod, id, run, stdio)) };
  } finally {
    for (const fd of opened) closeSync(fd);
    for (const name of names) unlinkSync(name);
  }
}

/** The exit is wrapped, or waiting for the start would wait for the end. */
function started(
  pod: Pod,
  id: string,
  run: Parameters<Pod['runtime']['exec']>[1],
  stdio: Stdio,
): Promise<{ readonly exit: Promise<ProcessExit> }> {
  return pod.exits.expect(async () => ({ exit: pod.exits.exitOf(await pod.runtime.exec(id, run, stdio)) }));
}
