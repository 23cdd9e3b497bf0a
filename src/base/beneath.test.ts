import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { appendFlags, openBeneath, splitBeneath } from './beneath.ts';

const folder = mkdtempSync(join(tmpdir(), 'beneath-'));
const outside = mkdtempSync(join(tmpdir(), 'outside-'));
after(() => {
  rmSync(folder, { recursive: true });
  rmSync(outside, { recursive: true });
});

test('a file is made with the folders on its way', async () => {
  await using file = await openBeneath(folder, 'a/b/0.log', appendFlags, 0o640);
  await file.write('line\n');
  assert.equal(readFileSync(join(folder, 'a/b/0.log'), 'utf8'), 'line\n');
});

for (const path of ['../x', 'a/../x', '/etc/x', '', 'a//b', './a', 'a/.', 'a\0b']) {
  test(`the path ${JSON.stringify(path)} is refused`, () => {
    assert.throws(() => splitBeneath(path), { kind: 'invalid-argument' });
  });
}

test('a link in the place of the file, or on the way, is not followed', async () => {
  writeFileSync(join(outside, 'victim'), 'kept');
  symlinkSync(join(outside, 'victim'), join(folder, 'leaf.log'));
  symlinkSync(outside, join(folder, 'way'));
  await assert.rejects(openBeneath(folder, 'leaf.log', appendFlags, 0o640), { kind: 'failed-precondition' });
  await assert.rejects(openBeneath(folder, 'way/victim', appendFlags, 0o640), { kind: 'failed-precondition' });
  assert.equal(readFileSync(join(outside, 'victim'), 'utf8'), 'kept');
});

test('a fifo or a folder in the place of the file is refused and does not block', async () => {
  execFileSync('mkfifo', [join(folder, 'fifo.log')]);
  mkdirSync(join(folder, 'dir.log'));
  await assert.rejects(openBeneath(folder, 'fifo.log', appendFlags, 0o640), { kind: 'failed-precondition' });
  await assert.rejects(openBeneath(folder, 'dir.log', appendFlags, 0o640));
});
