/** The path of the CRI socket: a folder that is closed to others, no stale socket in the way. */
import { chmod, lstat, mkdir, unlink } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { dirname } from 'node:path';
import { withDeadline } from '../base/deadline.ts';
import { HuskError, isErrno } from '../base/errors.ts';

/** `sun_path` of Linux without its NUL. */
const maxPathBytes = 107;
const probeMs = 2_000;
const folderMode = 0o700;
const socketMode = 0o600;
/** Others may pass through the folder (the gateway's socket can lie deeper), but not look or write. */
const forbiddenFolderBits = 0o066;

/**
 * Makes the path ready to listen on.
 *
 * @throws HuskError `invalid-argument` for a path no socket can have, `failed-precondition` for a
 *   folder open to others or a file in the way, `already-exists` when somebody listens there
 */
export async function prepareSocketPath(path: string): Promise<void> {
  if (!path.startsWith('/') || path.includes('\0') || Buffer.byteLength(path) > maxPathBytes) {
    throw new HuskError(
      'invalid-argument',
      `listen on ${JSON.stringify(path.slice(0, 200))}: wanted an absolute path of at most ${maxPathBytes} bytes`,
    );
  }
  await prepareFolder(dirname(path));
  await removeStale(path);
}

/** Nobody but the owner may connect. */
export async function closeToOthers(path: string): Promise<void> {
  await chmod(path, socketMode);
}

async function prepareFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: folderMode });
  const stats = await lstat(folder);
  const mode = stats.mode & 0o7777;
  const open = (mode & forbiddenFolderBits) !== 0;
  if (stats.isDirectory() && stats.uid === process.geteuid?.() && !open) return;
  throw new HuskError(
    'failed-precondition',
    `use "${folder}" as folder of the socket: mode 0${mode.toString(8)} of uid ${stats.uid}, wanted a folder of our own with mode 0700`,
    { hint: `chmod 0700 ${folder}, or listen in another folder` },
  );
}

async function removeStale(path: string): Promise<void> {
  try {
    const stats = await lstat(path);
    if (!stats.isSocket()) {
      throw new HuskError('failed-precondition', `listen on "${path}": a file that is no socket is in the way`);
    }
    if (await somebodyListens(path)) {
      throw new HuskError('already-exists', `listen on "${path}": another process listens there`, {
        hint: 'stop the other daemon or choose another --listen',
      });
    }
    await unlink(path);
  } catch (caught) {
    if (!isErrno(caught, 'ENOENT')) throw caught;
  }
}

async function somebodyListens(path: string): Promise<boolean> {
  return await withDeadline(`probe of "${path}"`, probeMs, undefined, async () => {
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    const probe = createConnection(path);
    probe.once('connect', () => resolve(true));
    probe.once('error', (error) => {
      if (isErrno(error, 'ECONNREFUSED') || isErrno(error, 'ENOENT')) resolve(false);
      else reject(error);
    });
    try {
      return await promise;
    } finally {
      probe.destroy();
    }
  });
}
