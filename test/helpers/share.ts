/** A file server of a pod, and in place of the pod's VM a raw client. */
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from '../../src/base/deadline.ts';
import { run } from '../../src/base/exec.ts';
import { type Share, ShareServer } from '../../src/volumes/share-server.ts';
import { FuseClient } from './fuse-client.ts';

export const shareProgram: string = join(import.meta.dirname, '../../build/bin/husk-share');

export interface SharedFolder extends AsyncDisposable {
  readonly server: ShareServer;
  readonly client: FuseClient;
  /** Of the test: its state lies here. */
  readonly folder: string;
}

/** Starts a server with nothing in it, and a session that has not said anything. */
export async function startShare(cgroupPaths: readonly string[] = [], onDeath?: () => void): Promise<SharedFolder> {
  const folder = await mkdtemp(join(tmpdir(), 'husk-share-'));
  const socket = join(folder, 'share.sock');
  const listener = createServer().listen(socket);
  await once(listener, 'listening');
  const connected = once(listener, 'connection');
  const server = await ShareServer.start({ program: shareProgram, socket, stateFolder: folder, cgroupPaths, onDeath });
  const client = new FuseClient((await connected)[0] as Socket);
  return {
    server,
    client,
    folder,
    async [Symbol.asyncDispose]() {
      await client.end();
      await ShareServer.end(folder);
      listener.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** The process that serves in a pod: the only child of the one that is kept by its state. */
export async function servingProcess(stateFolder: string): Promise<number> {
  const { pid } = JSON.parse(await readFile(join(stateFolder, 'share.json'), 'utf8')) as { pid: number };
  for (let tries = 0; tries < 100; tries += 1, await sleep(20)) {
    const child = Number(await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8'));
    if (child > 0) return child;
  }
  throw new Error(`nobody serves below process ${pid}`);
}

/**
 * The same, once it sleeps: one that dies over a large answer ends the session, and after one that dies over a small one the
 * client may have the answer twice.
 */
export async function restingProcess(stateFolder: string): Promise<number> {
  for (let tries = 0; tries < 100; tries += 1, await sleep(20)) {
    const pid = await servingProcess(stateFolder);
    if (/\) S /.test(await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ''))) return pid;
  }
  throw new Error('the server does not rest');
}

/** What is shared: a folder that may be written, unless `more` says else. */
export const share = (path: string, more: Partial<Share> = {}): Share => ({
  path,
  isFile: false,
  access: 'rw',
  hostToContainer: false,
  ...more,
});

/** For `assert.rejects`: the server answered with this errno. */
export const failed =
  (code: number) =>
  (caught: unknown): boolean =>
    (caught as { errno?: number }).errno === code;

/** A server whose client has begun, and a folder `data` on the host, not shared yet. */
export interface ShareScene extends AsyncDisposable {
  readonly host: string;
  readonly data: string;
  readonly subject: SharedFolder;
  readonly client: FuseClient;
}

export async function shareScene(onDeath?: () => void): Promise<ShareScene> {
  const host = await mkdtemp(join(tmpdir(), 'husk-host-'));
  const data = join(host, 'data');
  await mkdir(data);
  const subject = await startShare([], onDeath);
  await subject.client.start();
  return {
    host,
    data,
    subject,
    client: subject.client,
    async [Symbol.asyncDispose]() {
      await subject[Symbol.asyncDispose]();
      await run('sh', ['-c', 'umount -l "$1"/data/*/ 2>/dev/null; true', 'sh', host], { timeoutMs: 10_000 });
      await rm(host, { recursive: true, force: true });
    },
  };
}
