/**
 * Finding and reading files of an image without leaving it: what openat2(2) with RESOLVE_IN_ROOT would give,
 * which Node has not. Links are read, not followed, and start at the image's root again.
 *
 * Nothing may change the tree meanwhile: call it before the container's first process runs.
 */
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/** As many links as the kernel follows (path_resolution(7)). */
const maxLinks = 40;
const maxParts = 256;

/**
 * The text of a regular file; undefined when there is none, it is no regular file, or it is larger.
 *
 * @param path relative to `root`, which is a folder of ours
 */
export async function readInRoot(root: string, path: string, maxBytes: number): Promise<string | undefined> {
  const found = await resolveInRoot(root, path);
  if (found === undefined) return undefined;
  await using file = await openFile(found);
  return file === undefined ? undefined : await readCapped(file, maxBytes);
}

/** The path without links, or undefined when a part is missing or the links go round. */
export async function resolveInRoot(root: string, path: string): Promise<string | undefined> {
  const done: string[] = [];
  const left = path.split('/');
  let links = 0;
  for (let steps = 0; left.length > 0; steps += 1) {
    const part = left.shift() as string;
    if (steps === maxParts) return undefined;
    if (part === '' || part === '.') continue;
    if (part === '..') {
      done.pop();
      continue;
    }
    const at = join(root, ...done, part);
    const stats = await lstat(at).catch(() => undefined);
    if (stats === undefined) return undefined;
    if (!stats.isSymbolicLink()) {
      done.push(part);
      continue;
    }
    links += 1;
    if (links > maxLinks) return undefined;
    const target = await readlink(at);
    if (target.startsWith('/')) done.length = 0;
    left.unshift(...target.split('/'));
  }
  return join(root, ...done);
}

async function openFile(path: string): Promise<FileHandle | undefined> {
  // A device node would be opened, and act, before its kind could be seen: look first.
  if (!(await lstat(path)).isFile()) return undefined;
  return open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
}

async function readCapped(file: FileHandle, maxBytes: number): Promise<string | undefined> {
  const stats = await file.stat();
  if (!stats.isFile() || stats.size > maxBytes) return undefined;
  return file.readFile('utf8');
}
