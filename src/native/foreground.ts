/**
 * Containers in the foreground: the OCI runtime itself stays beside the container and gives it the
 * standard streams of this process. No byte passes us, and no conmon is needed; it ends with the container.
 */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { withDeadline } from '../base/deadline.ts';
import { HuskError } from '../base/errors.ts';
import type { OciCli } from './oci-cli.ts';
import type { ContainerPlaces } from './places.ts';
import { readPidFile, until } from './processes.ts';

const startMs = 60_000;
const maxComplaintChars = 800;

/** The standard streams that containers get: descriptors of this process. */
export interface ForegroundStreams {
  readonly stdin: number | 'ignore';
  readonly stdout: number | 'ignore';
  readonly stderr: number | 'ignore';
  /** The terminal's size; undefined: there is no terminal. */
  readonly size: { readonly height: number; readonly width: number } | undefined;
  /** Called when the terminal's size has changed must reach the OCI runtime: it gets the function to call. */
  readonly onResizer: (resized: () => void) => void;
}

export interface ForegroundWish {
  readonly runtime: OciCli;
  readonly containerId: string;
  readonly places: ContainerPlaces;
  /** Folder in which the exit code is left, as conmon leaves it. */
  readonly exits: string;
  readonly streams: ForegroundStreams;
}

/**
 * Creates and starts the container of a bundle; returns when it runs.
 *
 * The runtime is in a session of its own: what a terminal sends to the foreground group reaches the
 * caller alone, which decides what the container gets of it.
 *
 * @throws HuskError with the OCI runtime's complaint when the container did not come to run
 */
export async function runInForeground(wish: ForegroundWish, signal: AbortSignal): Promise<void> {
  const { runtime, containerId, places, streams } = wish;
  const log = join(places.folder, 'oci-runtime.log');
  const child = spawn(
    runtime.path,
    [
      ...[...runtime.globalArgs, '--log', log, '--log-format', 'json'],
      ...['run', '--keep', '--bundle', places.folder, '--pid-file', places.pidFile, containerId],
    ],
    { cwd: places.folder, detached: true, stdio: [streams.stdin, streams.stdout, streams.stderr] },
  );
  const { promise: exited, resolve, reject } = Promise.withResolvers<number>();
  child.once('error', (cause) => {
    const message = `start OCI runtime "${runtime.path}": ${cause.message}`;
    reject(new HuskError('failed-precondition', message, { cause, stage: 'oci-runtime' }));
  });
  child.once('exit', (code, name) => resolve(code ?? 128 + constants.signals[name ?? 'SIGKILL']));
  streams.onResizer(() => child.kill('SIGWINCH'));
  const left = exited.then((code) => writeFileAtomic(join(wish.exits, containerId), `${code}`, 0o600));
  left.catch(() => undefined);
  let over = false;
  const ended = exited.finally(() => (over = true));
  ended.catch(() => undefined);
  const runs = async (): Promise<boolean> => over || (await readPidFile(places.pidFile)) !== undefined;
  await withDeadline('OCI runtime to start the container', startMs, signal, () => until(startMs, runs));
  if ((await readPidFile(places.pidFile)) !== undefined) return;
  await ended;
  await left;
  throw new HuskError('unknown', `start the container: ${await complaint(log)}`, { stage: 'oci-runtime' });
}

/** The last message of the runtime's log, one JSON object a line. */
async function complaint(log: string): Promise<string> {
  const text = await readFile(log, 'utf8').catch(() => '');
  const messages = text.split('\n').flatMap((line) => /"msg":("(?:[^"\\]|\\.)*")/.exec(line)?.[1] ?? []);
  const last = messages.at(-1);
  if (last === undefined) return 'the OCI runtime ended before the container ran, and said nothing';
  return String(JSON.parse(last)).slice(0, maxComplaintChars).replaceAll(/\s+/g, ' ');
}
