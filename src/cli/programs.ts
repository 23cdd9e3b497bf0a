/** The programs that huskd starts as users of their own: put where those users can read them. */
import { COPYFILE_FICLONE } from 'node:constants';
import { chmod, copyFile, link, mkdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { HuskError } from '../base/errors.ts';

export interface Programs {
  /** Node, by a path that every user can run. */
  readonly node: string;
  readonly gateway: string;
  readonly imageWorker: string;
}

/**
 * Copies the bundled programs into the root directory, so that they can be read wherever husk is
 * installed or checked out, and stay what this daemon was started with when the package is upgraded.
 * Node is used where it is, or put beside them when its folder is closed.
 *
 * @param binDirectory where `tools/bundle.ts` or the package put them
 * @param folder made when absent
 * @throws HuskError `failed-precondition` when a program is not there
 */
export async function placePrograms(binDirectory: string, folder: string, nodePath: string): Promise<Programs> {
  await mkdir(folder, { recursive: true, mode: 0o755 });
  await chmod(folder, 0o755);
  const place = async (name: string): Promise<string> => {
    const to = join(folder, name);
    await copyFile(join(binDirectory, name), `${to}.new`).catch((cause: unknown) => {
      throw new HuskError('failed-precondition', `read program "${join(binDirectory, name)}": it cannot be read`, {
        cause,
        hint: '--bin-directory must name the folder of husk’s programs; in a checkout `make programs` makes them',
      });
    });
    await chmod(`${to}.new`, 0o644);
    await rename(`${to}.new`, to);
    return to;
  };
  return {
    gateway: await place('husk-gateway.mjs'),
    imageWorker: await place('husk-image-worker.mjs'),
    node: (await isOpenToAll(nodePath)) ? nodePath : await placeNode(nodePath, join(folder, 'node')),
  };
}

/** Whether every user may run it: the file and all folders above it let others through. */
async function isOpenToAll(path: string): Promise<boolean> {
  if (((await stat(path)).mode & 0o005) !== 0o005) return false;
  for (let at = dirname(path); ; at = dirname(at)) {
    if (((await stat(at)).mode & 0o001) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

/** A hard link where that is possible: Node has more than 100 MB. */
async function placeNode(from: string, to: string): Promise<string> {
  const [source, placed] = [await stat(from), await stat(to).catch(() => undefined)];
  if (placed?.size === source.size && Math.abs(placed.mtimeMs - source.mtimeMs) < 1000) return to;
  const fresh = `${to}.new`;
  await rm(fresh, { force: true });
  try {
    await link(from, fresh);
  } catch {
    await copyFile(from, fresh, COPYFILE_FICLONE);
    await chmod(fresh, 0o755);
    await utimes(fresh, source.atime, source.mtime);
  }
  await rename(fresh, to);
  return to;
}
