/**
 * Opening files below a folder without following links.
 *
 * Node has no openat2(2). `/proc/self/fd/N/name` walks from a held descriptor, one component at
 * a time, each opened with O_NOFOLLOW: what RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS would give
 * (rule: CVE-2025-0750, where `..` in a log path reached any file of the host).
 */
import { constants, type Stats } from 'node:fs';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { HuskError, isErrno } from './errors.ts';

const { O_CREAT, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;

/**
 * Opens a regular file beneath `folder`, creating the folders on the way.
 *
 * @param relative path without empty parts, `.` or `..`
 * @param flags of open(2); O_NOFOLLOW and O_NONBLOCK are added (a fifo must not block the daemon)
 * @param mode permission bits when the file is created
 * @throws HuskError `invalid-argument` for the path, `failed-precondition` when a part is a link
 *   or the file is not a regular one
 */
export async function openBeneath(folder: string, relative: string, flags: number, mode: number): Promise<FileHandle> {
  const parts = splitBeneath(relative);
  const name = parts.pop() as string;
  let at = await open(folder, O_RDONLY | O_DIRECTORY);
  try {
    for (const part of parts) {
      const next = await stepInto(at, part, folder, relative);
      await at.close();
      at = next;
    }
    return await openRegular(at, name, { folder, relative, flags, mode });
  } finally {
    await at.close();
  }
}

/** The parts of a relative path. @throws HuskError `invalid-argument` for `..`, an absolute path or an empty part */
export function splitBeneath(relative: string): string[] {
  const parts = relative.split('/');
  if (relative === '' || parts.some((part) => part === '' || part === '.' || part === '..' || part.includes('\0'))) {
    throw new HuskError(
      'invalid-argument',
      `path "${relative.slice(0, 200)}": must be relative, without "." and ".." parts`,
    );
  }
  return parts;
}

async function stepInto(at: FileHandle, part: string, folder: string, relative: string): Promise<FileHandle> {
  const path = `/proc/self/fd/${at.fd}/${part}`;
  await mkdir(path, { mode: 0o755 }).catch((caught: unknown) => {
    if (!isErrno(caught, 'EEXIST')) throw caught;
  });
  try {
    return await open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  } catch (caught) {
    throw linkError(caught, folder, relative, part);
  }
}

interface Leaf {
  readonly folder: string;
  readonly relative: string;
  readonly flags: number;
  readonly mode: number;
}

async function openRegular(at: FileHandle, name: string, leaf: Leaf): Promise<FileHandle> {
  let file: FileHandle;
  try {
    file = await open(`/proc/self/fd/${at.fd}/${name}`, leaf.flags | O_NOFOLLOW | O_NONBLOCK, leaf.mode);
  } catch (caught) {
    throw linkError(caught, leaf.folder, leaf.relative, name);
  }
  const stats: Stats = await file.stat();
  if (stats.isFile()) return file;
  await file.close();
  throw new HuskError('failed-precondition', `open "${leaf.relative}" beneath "${leaf.folder}": not a regular file`);
}

function linkError(caught: unknown, folder: string, relative: string, part: string): unknown {
  const followed = isErrno(caught, 'ELOOP') || isErrno(caught, 'ENOTDIR') || isErrno(caught, 'ENXIO');
  if (!followed) return caught;
  return new HuskError(
    'failed-precondition',
    `open "${relative}" beneath "${folder}": "${part}" is not a plain file or folder`,
    {
      cause: caught,
    },
  );
}

/** Flags for a log: appended to, created when absent. */
export const appendFlags: number = constants.O_WRONLY | constants.O_APPEND | O_CREAT;
