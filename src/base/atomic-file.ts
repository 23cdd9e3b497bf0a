import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Replaces a file so that a reader, or a machine that lost power, sees the old bytes or the
 * new ones: temporary file, fsync, rename, fsync of the folder.
 *
 * @param mode permission bits of the new file, e.g. 0o600
 */
export async function writeFileAtomic(path: string, data: string | Uint8Array, mode: number): Promise<void> {
  await replace(path, data, mode, (file) => file.sync());
  await syncFolder(dirname(path));
}

/** Replaces a file as a reader sees it. For what ends with the machine: after a loss of power it may be empty. */
export async function replaceFile(path: string, data: string | Uint8Array, mode: number): Promise<void> {
  await replace(path, data, mode, async () => undefined);
}

async function replace(
  path: string,
  data: string | Uint8Array,
  mode: number,
  beforeRename: (file: FileHandle) => Promise<void>,
): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    await using file = await open(temporary, 'wx', mode);
    await file.writeFile(data);
    await beforeRename(file);
  } catch (caught) {
    await unlink(temporary).catch(() => undefined);
    throw caught;
  }
  await rename(temporary, path);
}

async function syncFolder(path: string): Promise<void> {
  const folder: FileHandle = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
