/** Debian packages unpacked into a cache folder, without installing them: no service starts, no file of the node changes. */
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { HuskError } from '../../src/base/errors.ts';
import { run } from '../../src/base/exec.ts';

const stage = 'conformance-packages';

/**
 * Downloads and unpacks a package in the version that apt would install, once.
 * @returns the folder that holds its `usr/`
 */
export async function unpackDebianPackage(name: string, cacheFolder: string): Promise<string> {
  const version = await candidate(name);
  const folder = join(cacheFolder, `${name}_${version.replaceAll(':', '%')}`);
  const known = await stat(folder).catch(() => undefined);
  if (known !== undefined) return folder;
  const work = `${folder}.${process.pid}.tmp`;
  await rm(work, { recursive: true, force: true });
  await mkdir(work, { recursive: true });
  const download = ['-qq', '-o', 'APT::Sandbox::User=root', 'download', `${name}=${version}`];
  await run('apt-get', download, { timeoutMs: 300_000, cwd: work, stage });
  const deb = (await readdir(work)).find((entry) => entry.endsWith('.deb'));
  if (deb === undefined) throw new HuskError('not-found', `download "${name}": apt left no .deb`, { stage });
  await run('dpkg-deb', ['-x', join(work, deb), work], { timeoutMs: 120_000, stage });
  await rm(join(work, deb));
  await rename(work, folder);
  return folder;
}

async function candidate(name: string): Promise<string> {
  const ask = async (): Promise<string | undefined> => {
    const text = await run('apt-cache', ['policy', name], { timeoutMs: 60_000, stage });
    const [, version] = /^ {2}Candidate: (\S+)$/m.exec(text) ?? [];
    return version === '(none)' ? undefined : version;
  };
  const first = await ask();
  if (first !== undefined) return first;
  await run('apt-get', ['-qq', 'update'], { timeoutMs: 300_000, stage });
  const second = await ask();
  if (second !== undefined) return second;
  throw new HuskError('not-found', `look up the Debian package "${name}": apt knows none`, { stage });
}
