/**
 * conmon: one small process for each container that holds its standard streams, writes its log
 * and leaves its exit code in a file. It depends on nobody: huskd may end at any time.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { withDeadline } from '../base/deadline.ts';
import { HuskError } from '../base/errors.ts';
import type { OciCli } from './oci-cli.ts';
import type { ContainerPlaces } from './places.ts';

/** conmon's end of the two pipes that it is told of by environment variables. */
const syncFd = 3;
const startFd = 4;
const createMs = 60_000;
const maxAnswerBytes = 64 * 1024;

export interface ConmonWish {
  readonly conmon: string;
  readonly runtime: OciCli;
  readonly containerId: string;
  readonly name: string;
  readonly places: ContainerPlaces;
  readonly exits: string;
  /** Undefined: what the container writes is dropped. */
  readonly logPath: string | undefined;
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  /** Moves conmon to where it is to be accounted, before it starts anything. */
  readonly place: (pid: number) => Promise<void>;
}

/**
 * Starts conmon, which creates the container.
 * @returns the pid of the container's first process, which waits for `start`
 * @throws HuskError with the OCI runtime's complaint
 */
export async function startConmon(wish: ConmonWish, signal: AbortSignal): Promise<number> {
  const child = spawn(wish.conmon, conmonArgs(wish), {
    cwd: wish.places.folder,
    detached: true,
    env: {
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      _OCI_SYNCPIPE: String(syncFd),
      _OCI_STARTPIPE: String(startFd),
    },
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
  });
  try {
    return await withDeadline('conmon to create the container', createMs, signal, () => created(child, wish));
  } finally {
    child.stderr?.destroy();
    for (const fd of [syncFd, startFd]) pipeOf(child, fd)?.destroy();
    child.unref();
  }
}

/** The argument vector. Pure. */
export function conmonArgs(wish: Omit<ConmonWish, 'place' | 'conmon'>): string[] {
  const { runtime, places, containerId } = wish;
  return [
    ...['--cid', containerId, '--cuuid', containerId, '--name', wish.name],
    ...['--runtime', runtime.path, ...runtime.globalArgs.flatMap((arg) => [`--runtime-arg=${arg}`])],
    ...['--bundle', places.folder, '--persist-dir', places.folder, '--exit-dir', wish.exits],
    ...['--container-pidfile', places.pidFile, '--conmon-pidfile', places.conmonPidFile],
    ...['--log-path', wish.logPath === undefined ? 'none' : `k8s-file:${wish.logPath}`],
    ...['--api-version', '1', '--full-attach', '--no-sync-log', '--log-level', 'warn'],
    ...(wish.tty ? ['--terminal'] : []),
    ...(wish.stdin ? ['--stdin'] : []),
    ...(wish.stdin && !wish.stdinOnce ? ['--leave-stdin-open'] : []),
  ];
}

async function created(child: ChildProcess, wish: ConmonWish): Promise<number> {
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => undefined);
  child.once('error', (cause) => {
    failed.reject(new HuskError('failed-precondition', `start conmon "${wish.conmon}": ${cause.message}`, { cause }));
  });
  const complaint = collect(child.stderr);
  const answer = collect(pipeOf(child, syncFd), (text) => text.includes('\n'));
  await Promise.race([failed.promise, started(child)]);
  await wish.place(child.pid as number);
  pipeOf(child, startFd)?.end('\n');
  const text = await Promise.race([failed.promise, answer]);
  return parseAnswer(text, complaint);
}

async function started(child: ChildProcess): Promise<void> {
  if (child.pid !== undefined) return;
  await new Promise(() => {});
}

/** Reads until the end, or until what was read is enough. */
function collect(
  stream: NodeJS.ReadableStream | null | undefined,
  enough?: (text: string) => boolean,
): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let text = '';
  stream?.on('data', (chunk: Buffer) => {
    if (text.length < maxAnswerBytes) text += chunk.toString('utf8');
    if (enough?.(text) === true) resolve(text);
  });
  stream?.once('close', () => resolve(text));
  // The other side closing in the middle is an end like any other.
  stream?.once('error', () => resolve(text));
  return promise;
}

async function parseAnswer(text: string, complaint: Promise<string>): Promise<number> {
  const line = text.split('\n', 1)[0] ?? '';
  const { data, message } = parseLine(line);
  if (data !== undefined && data > 0) return data;
  const told = message ?? (line || (await complaint));
  throw new HuskError('unknown', `create the container: ${told.trim().slice(-800).replaceAll(/\s+/g, ' ')}`, {
    stage: 'oci-runtime',
  });
}

/** conmon's word: `{"data": PID}`, or a negative number and what the runtime complained about. */
function parseLine(line: string): { data?: number; message?: string } {
  try {
    const parsed: unknown = JSON.parse(line);
    if (typeof parsed !== 'object' || parsed === null) return {};
    return {
      ...('data' in parsed && typeof parsed.data === 'number' ? { data: parsed.data } : {}),
      ...('message' in parsed && typeof parsed.message === 'string' ? { message: parsed.message } : {}),
    };
  } catch {
    return {};
  }
}

function pipeOf(child: ChildProcess, fd: number): Duplex | null {
  return child.stdio[fd] as Duplex | null;
}
