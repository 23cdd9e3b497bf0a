/** The `newc` archive format of initramfs images (kernel: Documentation/driver-api/early-userspace/buffer-format.rst). */
import { HuskError } from '../src/base/errors.ts';

/** One file of an initramfs; folders above it are made. */
export interface ArchiveFile {
  /** Relative path. */
  readonly path: string;
  readonly content: Uint8Array;
  readonly mode: number;
}

const folderMode = 0o040755;
const regularFile = 0o100000;
const deviceMode = 0o020600;

/**
 * Writes an archive whose bytes depend on its arguments alone: sorted, root's, one time stamp.
 * It starts with /dev and /dev/console, so that the first process has a place to complain.
 */
export function initramfs(files: readonly ArchiveFile[], epochSeconds: number): Buffer {
  const entries = new Map<string, { mode: number; content: Uint8Array; device?: readonly [number, number] }>();
  entries.set('dev', { mode: folderMode, content: new Uint8Array() });
  entries.set('dev/console', { mode: deviceMode, content: new Uint8Array(), device: [5, 1] });
  for (const file of files) {
    for (const folder of foldersAbove(file.path)) entries.set(folder, { mode: folderMode, content: new Uint8Array() });
    entries.set(file.path, { mode: regularFile | file.mode, content: file.content });
  }
  const parts: Buffer[] = [];
  let inode = 1;
  for (const path of [...entries.keys()].sort()) {
    const entry = entries.get(path);
    if (entry === undefined) continue;
    parts.push(...record({ path, epochSeconds, inode, ...entry }));
    inode += 1;
  }
  parts.push(...record({ path: 'TRAILER!!!', epochSeconds: 0, inode: 0, mode: 0, content: new Uint8Array() }));
  return Buffer.concat(parts);
}

function foldersAbove(path: string): string[] {
  const names = path.split('/');
  if (names.some((name) => name === '' || name === '.' || name === '..')) {
    throw new HuskError('invalid-argument', `add "${path}" to the initramfs: the path is not relative and plain`);
  }
  return names.slice(0, -1).map((_, index) => names.slice(0, index + 1).join('/'));
}

function record(entry: {
  path: string;
  mode: number;
  inode: number;
  epochSeconds: number;
  content: Uint8Array;
  device?: readonly [number, number];
}): Buffer[] {
  const name = Buffer.from(`${entry.path}\0`);
  const [major, minor] = entry.device ?? [0, 0];
  const links = (entry.mode & 0o170000) === 0o040000 ? 2 : 1;
  const numbers = [entry.inode, entry.mode, 0, 0, links, entry.epochSeconds, entry.content.length];
  const fields = [...numbers, 0, 0, major, minor, name.length, 0].map((value) => value.toString(16).padStart(8, '0'));
  const header = Buffer.concat([Buffer.from(`070701${fields.join('')}`), name]);
  return [padded(header), padded(Buffer.from(entry.content))];
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
