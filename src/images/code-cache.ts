import { constants } from 'node:fs';
import { chmod, chown, mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../base/exec.ts';
import { dropRights, type WorkerIdentity, workerEntry } from './worker-process.ts';

const warmUpTimeoutMs = 30_000;

/**
 * Compiles the worker's program once, so that every worker starts in a third of the time.
 *
 * Node keeps one cache per uid, so it is made by the worker's uid, by a run that reads no byte of a
 * registry, and then taken from it: a worker must not be able to write what the next one executes.
 *
 * @returns the folder for NODE_COMPILE_CACHE
 */
export async function prepareCodeCache(parent: string, identity: WorkerIdentity): Promise<string> {
  const folder = join(parent, 'code');
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { mode: 0o700 });
  await chown(folder, identity.uid, identity.gid);
  const [file, ...args] = [...dropRights(identity), identity.nodePath, workerEntry];
  await run(file, args, {
    timeoutMs: warmUpTimeoutMs,
    env: { NODE_COMPILE_CACHE: folder },
    cwd: '/',
    stage: 'image-worker',
  });
  await seal(folder);
  return folder;
}

async function seal(path: string): Promise<void> {
  await chown(path, 0, 0);
  await chmod(path, 0o755);
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const child = join(path, entry.name);
    if (entry.isDirectory()) await seal(child);
    else if (!entry.isFile()) await rm(child, { force: true });
    else await sealFile(child);
  }
}

async function sealFile(path: string): Promise<void> {
  await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  await file.chown(0, 0);
  await file.chmod(0o444);
}
