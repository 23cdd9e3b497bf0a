/** The files of a small tree as they are now, read without following a link or waiting for a fifo. */
import { constants, type Dirent } from 'node:fs';
import { type FileHandle, open, readdir, readlink } from 'node:fs/promises';
import { HuskError, isErrno } from '../base/errors.ts';

const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;

export interface TreeFile {
  /** Relative, as bytes; empty for the root. */
  readonly path: Buffer;
  readonly kind: 'folder' | 'file' | 'link';
  /** The content of a file, or where a link points. */
  readonly content: Buffer;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** What may be copied into a guest's memory; more becomes a live share. */
export const treeLimits = { bytes: 4 * 1024 * 1024, entries: 4096, depth: 32 } as const;

interface Walk {
  readonly files: TreeFile[];
  bytes: number;
}

/**
 * Opens the root of a tree: what is there now, even when another takes its name later, as a bind
 * mount would keep it.
 *
 * @param path without links in it: the last part is not followed
 */
export function openTree(path: string): Promise<FileHandle> {
  return open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
}

/**
 * Reads a folder or a single file, parents first. What changes meanwhile may be there in its
 * old or its new form, or not at all; the watcher reads again.
 *
 * @param path for messages
 * @throws HuskError `resource-exhausted` beyond {@link treeLimits}, `failed-precondition` for what is
 *   neither folder nor file nor link
 */
export async function readTree(root: FileHandle, path: string): Promise<TreeFile[]> {
  const walk: Walk = { files: [], bytes: 0 };
  await addOpen(walk, root, Buffer.alloc(0), path);
  return walk.files;
}

async function addOpen(walk: Walk, handle: FileHandle, path: Buffer, top: string): Promise<void> {
  const { mode, uid, gid, size, ...stats } = await handle.stat().then((found) => ({
    mode: found.mode & 0o7777,
    uid: found.uid,
    gid: found.gid,
    size: found.size,
    folder: found.isDirectory(),
    file: found.isFile(),
  }));
  if (stats.file) {
    checkSpace(walk, size, top);
    add(walk, { path, kind: 'file', content: await readCapped(handle, top), mode, uid, gid }, top);
  } else if (stats.folder) {
    add(walk, { path, kind: 'folder', content: Buffer.alloc(0), mode, uid, gid }, top);
    await addChildren(walk, handle, path, top);
  } else {
    throw refusal(top, path, 'neither a folder nor a file nor a link');
  }
}

async function addChildren(walk: Walk, folder: FileHandle, path: Buffer, top: string): Promise<void> {
  if (path.filter((byte) => byte === 0x2f).length >= treeLimits.depth) throw tooMuch(top, `${treeLimits.depth} levels`);
  const here = `/proc/self/fd/${folder.fd}`;
  const entries = await readdir(here, { withFileTypes: true, encoding: 'buffer' });
  entries.sort((one, other) => Buffer.compare(one.name, other.name));
  for (const entry of entries) await addChild(walk, { here, entry, path, top });
}

interface Child {
  readonly here: string;
  readonly entry: Dirent<Buffer>;
  readonly path: Buffer;
  readonly top: string;
}

async function addChild(walk: Walk, { here, entry, path, top }: Child): Promise<void> {
  const at = Buffer.concat([Buffer.from(`${here}/`), entry.name]);
  const childPath = path.length === 0 ? entry.name : Buffer.concat([path, Buffer.from('/'), entry.name]);
  try {
    if (entry.isSymbolicLink()) {
      const content = await readlink(at, { encoding: 'buffer' });
      add(walk, { path: childPath, kind: 'link', content, mode: 0o777, uid: 0, gid: 0 }, top);
      return;
    }
    if (!entry.isFile() && !entry.isDirectory())
      throw refusal(top, childPath, 'neither a folder nor a file nor a link');
    const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | (entry.isDirectory() ? O_DIRECTORY : 0);
    const handle = await open(at, flags);
    try {
      await addOpen(walk, handle, childPath, top);
    } finally {
      await handle.close();
    }
  } catch (caught) {
    // Gone or exchanged since it was listed: whoever did that changes the folder, which is watched.
    if (['ENOENT', 'ELOOP', 'EINVAL', 'ENOTDIR'].some((code) => isErrno(caught, code))) return;
    throw caught;
  }
}

function add(walk: Walk, file: TreeFile, top: string): void {
  walk.bytes += file.content.length + file.path.length;
  checkSpace(walk, 0, top);
  if (walk.files.length === treeLimits.entries) throw tooMuch(top, `${treeLimits.entries} entries`);
  walk.files.push(file);
}

function checkSpace(walk: Walk, more: number, top: string): void {
  if (walk.bytes + more > treeLimits.bytes) throw tooMuch(top, `${treeLimits.bytes} bytes`);
}

/** Never more than the cap, even of a file that grows. */
async function readCapped(file: FileHandle, top: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for (;;) {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(65_536), 0, 65_536, bytes);
    if (bytesRead === 0) return Buffer.concat(chunks);
    bytes += bytesRead;
    if (bytes > treeLimits.bytes) throw tooMuch(top, `${treeLimits.bytes} bytes`);
    chunks.push(buffer.subarray(0, bytesRead));
  }
}

function tooMuch(top: string, what: string): HuskError {
  return new HuskError('resource-exhausted', `copy "${top.slice(0, 200)}" into the VM: more than ${what}`, {
    stage: 'volumes',
  });
}

function refusal(top: string, path: Buffer, why: string): HuskError {
  return new HuskError(
    'failed-precondition',
    `copy "${top.slice(0, 200)}" into the VM: ${JSON.stringify(path.toString('latin1').slice(0, 200))} is ${why}`,
    { stage: 'volumes' },
  );
}
