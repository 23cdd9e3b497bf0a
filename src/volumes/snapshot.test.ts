import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { isKind } from '../base/errors.ts';
import { openTree, readTree, type TreeFile, treeLimits } from './snapshot.ts';
import { chunkBytes, treeDigest, treeVolumes } from './wire.ts';

let root: string;
beforeEach(() => (root = mkdtempSync(join(tmpdir(), 'tree-'))));
afterEach(() => rmSync(root, { recursive: true, force: true }));

async function read(path = root): Promise<TreeFile[]> {
  const handle = await openTree(path);
  try {
    return await readTree(handle, path);
  } finally {
    await handle.close();
  }
}
const names = (files: readonly TreeFile[]): string[] =>
  files.map(({ path, kind }) => `${kind} ${path.toString('latin1')}`);

test('a tree is read parents first, with links as they are and names as bytes', async () => {
  mkdirSync(join(root, '..2026'));
  writeFileSync(join(root, '..2026/key'), 'value', { mode: 0o440 });
  symlinkSync('..2026', join(root, '..data'));
  symlinkSync('/etc/shadow', join(root, 'out'));
  writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0xff, 0x0a])]), 'odd');
  const files = await read();
  assert.deepEqual(names(files), [
    'folder ',
    'folder ..2026',
    'file ..2026/key',
    'link ..data',
    'link out',
    'file \xff\n',
  ]);
  assert.equal(files[4]?.content.toString(), '/etc/shadow');
  assert.deepEqual([files[2]?.content.toString(), files[2]?.mode], ['value', 0o440]);
});

test('what was opened is read, also after another took its name', async () => {
  const path = join(root, 'file');
  writeFileSync(path, 'old');
  const handle = await openTree(path);
  writeFileSync(join(root, 'new'), 'new');
  renameSync(join(root, 'new'), path);
  assert.equal((await readTree(handle, path))[0]?.content.toString(), 'old');
  await handle.close();
});

test('a root that is a link is not followed; a fifo neither blocks nor passes', { timeout: 10_000 }, async () => {
  symlinkSync('/etc', join(root, 'link'));
  await assert.rejects(read(join(root, 'link')), { code: 'ELOOP' });
  execFileSync('mkfifo', [join(root, 'fifo')]);
  await assert.rejects(read(), (caught) => isKind(caught, 'failed-precondition') && /"fifo"/.test(String(caught)));
});

test('bytes and entries are capped before they are read', async () => {
  writeFileSync(join(root, 'sparse'), '');
  truncateSync(join(root, 'sparse'), 2 ** 40);
  await assert.rejects(read(), (caught) => isKind(caught, 'resource-exhausted'));
  rmSync(join(root, 'sparse'));
  for (let index = 0; index < treeLimits.entries; index += 1) writeFileSync(join(root, String(index)), '');
  await assert.rejects(read(), (caught) => isKind(caught, 'resource-exhausted'));
});

test('a large file is sent in parts, and only the last request applies', async () => {
  writeFileSync(join(root, 'big'), Buffer.alloc(chunkBytes * 2 + 5, 'x'));
  const volumes = treeVolumes({ id: 'ab', idMapped: false }, await read());
  const sent = volumes.map(({ kind }) => (kind?.$case === 'tree' ? kind.value : undefined));
  assert.ok(sent.length > 2);
  assert.ok(sent.every((tree, index) => tree?.more === index < sent.length - 1));
  const bytes = sent
    .flatMap((tree) => tree?.entries ?? [])
    .reduce((sum, { kind }) => sum + (kind?.$case === 'content' ? kind.value.length : 0), 0);
  assert.equal(bytes, chunkBytes * 2 + 5);
});

test('the digest tells contents, names and owners apart', async () => {
  writeFileSync(join(root, 'a'), 'bc');
  const first = treeDigest(await read());
  assert.equal(treeDigest(await read()), first);
  rmSync(join(root, 'a'));
  writeFileSync(join(root, 'ab'), 'c');
  assert.notEqual(treeDigest(await read()), first);
});
