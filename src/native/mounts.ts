/** Mounts on the host: made, found and taken away. Every path is one of husk's own folders. */
import { readFile, rm } from 'node:fs/promises';
import { sleep } from '../base/deadline.ts';
import { HuskError } from '../base/errors.ts';
import { run } from '../base/exec.ts';

const timeoutMs = 20_000;
/** A mount point is busy for a moment while a container's mount namespace is being made. */
const busyTries = 20;
const busyWaitMs = 25;

export interface MountWish {
  readonly type?: string;
  readonly source: string;
  readonly target: string;
  readonly options: readonly string[];
  /** Folder that relative paths in the options start from. */
  readonly cwd?: string;
}

/** Mounts. @throws HuskError `internal` with the kernel's reason */
export async function mount(wish: MountWish): Promise<void> {
  const type = wish.type === undefined ? [] : ['-t', wish.type];
  await run('mount', [...type, '-o', wish.options.join(','), wish.source, wish.target], {
    timeoutMs,
    stage: 'mount',
    ...(wish.cwd === undefined ? {} : { cwd: wish.cwd }),
  });
}

/** The mount points at and below a folder, deepest and newest first. */
export async function mountsBelow(folder: string): Promise<string[]> {
  const below = parseMountPoints(await readFile('/proc/self/mountinfo', 'utf8'));
  return below.filter((path) => path === folder || path.startsWith(`${folder}/`)).reverse();
}

/** The mount points of a mountinfo file (proc(5)), in its order; octal escapes undone. */
export function parseMountPoints(mountinfo: string): string[] {
  return mountinfo.split('\n').flatMap((line) => {
    const point = line.split(' ')[4];
    return point === undefined
      ? []
      : [point.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))];
  });
}

/**
 * Unmounts everything at and below a folder. What stays busy is detached, so that it ends with
 * its last user.
 */
export async function unmountBelow(folder: string): Promise<void> {
  for (const point of await mountsBelow(folder)) await unmount(point);
}

async function unmount(point: string): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    try {
      await run('umount', ['--no-canonicalize', point], { timeoutMs, stage: 'unmount' });
      return;
    } catch (caught) {
      if (!HuskError.from(caught).message.includes('busy')) throw caught;
    }
    if (tries === busyTries) break;
    await sleep(busyWaitMs);
  }
  await run('umount', ['--no-canonicalize', '--lazy', point], { timeoutMs, stage: 'unmount' });
}

/**
 * Unmounts what is below a folder and removes it. Never removes through a mount: below one lie
 * files of others, such as the pod's logs.
 * @throws HuskError `internal` when something is still mounted
 */
export async function removeTree(folder: string): Promise<void> {
  await unmountBelow(folder);
  const [left] = await mountsBelow(folder);
  if (left !== undefined) {
    throw new HuskError('internal', `remove "${folder}": "${left}" is still mounted`, { stage: 'unmount' });
  }
  await rm(folder, { recursive: true, force: true });
}
