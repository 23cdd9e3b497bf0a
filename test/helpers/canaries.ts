/** Files and mounts outside a share, and everything about them that an attack could change. */
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [files, mounts] = [200, 10];

export interface Canaries {
  /** What stands there now, a line each. */
  state(): string[];
  remove(): void;
}

/** Makes 200 files and 10 mounts, each with a file in it, in a folder that is made. */
export function makeCanaries(folder: string): Canaries {
  mkdirSync(folder);
  for (let index = 0; index < files; index += 1)
    writeFileSync(join(folder, `canary${index}`), `alive ${index}`, { mode: 0o600 });
  for (let index = 0; index < mounts; index += 1) {
    const at = join(folder, `mount${index}`);
    mkdirSync(at);
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', at]);
    writeFileSync(join(at, 'inside'), `mounted ${index}`);
  }
  return {
    state: () => readdirSync(folder).flatMap((name) => pathsAt(name).map((path) => lineOf(folder, path))),
    remove: () => {
      for (let index = 0; index < mounts; index += 1) execFileSync('umount', ['-l', join(folder, `mount${index}`)]);
    },
  };
}

function pathsAt(name: string): string[] {
  return name.startsWith('mount') ? [name, `${name}/inside`] : [name];
}

function lineOf(folder: string, path: string): string {
  const stats = lstatSync(join(folder, path));
  const { mode, uid, gid, nlink, size, mtimeMs, ctimeMs, ino } = stats;
  const content = stats.isFile() ? readFileSync(join(folder, path), 'utf8') : '';
  return [path, mode, uid, gid, nlink, size, mtimeMs, ctimeMs, ino, content].join(' ');
}
