/** What the image of the volumes section holds: the program that works on files, git, and a tree for it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../src/base/exec.ts';
import type { Entry } from '../fixtures/oci-image.ts';

const toolMs = 60_000;

/** @param folder where things are made */
export async function volumeTools(repository: string, folder: string): Promise<Entry[]> {
  const program = join(folder, 'file-work');
  const source = join(repository, 'test/fixtures/file-work.c');
  await run('gcc', ['-O2', '-static', '-o', program, source], { timeoutMs: toolMs });
  return [
    { name: 'bin/file-work', data: await readFile(program), mode: 0o755 },
    ...(await git()),
    { name: 'bench/tree.tar', data: await tree(repository, folder) },
  ];
}

/** The machine's own, with the libraries that it names. */
async function git(): Promise<Entry[]> {
  const [program = ''] = (await run('sh', ['-c', 'command -v git'], { timeoutMs: toolMs })).trim().split('\n');
  const libraries = (await run('ldd', [program], { timeoutMs: toolMs })).matchAll(/(\/\S+)/g);
  const files = [...libraries].map(([, path]) => path as string);
  return Promise.all([
    readFile(program).then((data): Entry => ({ name: 'bin/git', data, mode: 0o755 })),
    ...files.map(async (path): Promise<Entry> => ({ name: path.slice(1), data: await readFile(path), mode: 0o755 })),
  ]);
}

/** This repository's last commit, checked out. */
async function tree(repository: string, folder: string): Promise<Buffer> {
  const clone = ['clone', '-q', '--depth', '1', `file://${repository}`, join(folder, 'tree')];
  await run('git', ['-c', 'safe.directory=*', ...clone], { timeoutMs: toolMs });
  await run('tar', ['cf', join(folder, 'tree.tar'), '-C', folder, 'tree'], { timeoutMs: toolMs });
  return readFile(join(folder, 'tree.tar'));
}
