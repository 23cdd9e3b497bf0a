/** The process that serves one stream of a native pod: started by huskd, spoken to by the gateway alone. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { withDeadline } from '../base/deadline.ts';
import { HuskError } from '../base/errors.ts';
import { shortId } from '../base/ids.ts';
import { type UndoStack, undoing } from '../base/undo.ts';

/** From its start to its socket takes milliseconds. */
const readyMs = 20_000;
const maxAnswerBytes = 1024;

export interface StreamProcessWish {
  readonly program: string;
  /** After the folder, the ids and the cgroups. `@` at the start of one stands for the folder. */
  readonly args: readonly string[];
  /** Becomes its descriptor 3. */
  readonly fd?: number;
  /** Whose stream it is. */
  readonly sandboxId: string;
  /** Folder for the folders of streams. */
  readonly streams: string;
  /** What it becomes once it needs no rights any more, and the group of the gateway. */
  readonly ids: { readonly uid: number; readonly gatewayGid: number };
  /** Makes the cgroups where it is to be accounted, and gives the files by which it joins them, before it takes its client. */
  readonly cgroups: () => Promise<readonly string[]>;
}

/**
 * Starts one and has its URL made. It ends by itself: with its stream, or when no client comes.
 * @param url makes the URL of what is in the folder; when it fails, nothing is left
 * @throws HuskError with what the process could not do
 */
export function withStreamProcess(
  wish: StreamProcessWish,
  url: (folder: string) => Promise<string>,
  signal: AbortSignal,
): Promise<string> {
  return undoing(async (undo) => {
    const folder = join(wish.streams, `${shortId(wish.sandboxId)}-${randomBytes(12).toString('hex')}`);
    undo.add('folder of the stream', () => rm(folder, { recursive: true, force: true }));
    const [cgroups] = await Promise.all([wish.cgroups(), mkdir(folder, { mode: 0o711 })]);
    const start = { folder, cgroups: cgroups.join('\n') };
    const ready = withDeadline('start the process of a stream', readyMs, signal, () => started(wish, start, undo));
    // Side by side: the URL says only where the process is going to be. One that leads nowhere is good for nothing.
    const made = url(folder);
    await Promise.allSettled([ready, made]);
    await ready;
    return await made;
  });
}

async function started(
  wish: StreamProcessWish,
  { folder, cgroups }: { readonly folder: string; readonly cgroups: string },
  undo: UndoStack,
): Promise<void> {
  const { program, ids } = wish;
  const args = wish.args.map((arg) => (arg.startsWith('@') ? join(folder, arg.slice(1)) : arg));
  const child = spawn(program, [folder, String(ids.uid), String(ids.gatewayGid), cgroups, ...args], {
    cwd: '/',
    // It outlives this daemon.
    detached: true,
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
    stdio: ['ignore', 'pipe', 'ignore', wish.fd ?? 'ignore'],
  });
  undo.add('process of the stream', async () => void child.kill('SIGKILL'));
  child.unref();
  // Killed, or one that may not remove it: what it leaves is removed here, or with the pod.
  child.once('exit', () => void rm(folder, { recursive: true, force: true }).catch(() => undefined));
  await spawned(child, program);
  const line = await firstLine(child.stdout as Readable);
  if (line !== 'ok') {
    throw new HuskError('internal', `start "${program}": ${line.replace(/^error /, '') || 'it ended at once'}`, {
      stage: 'streaming',
    });
  }
}

async function spawned(child: ChildProcess, program: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  child.once('spawn', resolve).once('error', (cause) => {
    reject(new HuskError('failed-precondition', `start "${program}": ${cause.message}`, { cause, stage: 'streaming' }));
  });
  await promise;
}

/** Its only line. */
async function firstLine(stream: Readable): Promise<string> {
  let text = '';
  for await (const chunk of stream) {
    text += String(chunk);
    if (text.includes('\n') || text.length > maxAnswerBytes) break;
  }
  return text.split('\n', 1)[0] ?? '';
}

/** Removes what processes of the pod's streams have left; they have been killed before. */
export async function removeStreams(streams: string, sandboxId: string): Promise<void> {
  for (const name of await readdir(streams).catch(() => []))
    if (name.startsWith(`${shortId(sandboxId)}-`)) await rm(join(streams, name), { recursive: true, force: true });
}
