import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { type ArchiveFile, initramfs } from './cpio.ts';

const files: ArchiveFile[] = [
  { path: 'init', content: Buffer.from('#!init'), mode: 0o755 },
  { path: 'lib/a/b.ko', content: Buffer.from('module'), mode: 0o644 },
];

test('cpio reads the archive, with the console in it', () => {
  const listed = spawnSync('cpio', ['--list', '--verbose', '--quiet', '--numeric-uid-gid'], {
    input: initramfs(files, 0),
  });
  const lines = listed.stdout.toString().trim().split('\n');
  const seen = lines.map((line) => [line.slice(0, 10), line.split(' ').at(-1)]);
  assert.deepEqual(seen, [
    ['drwxr-xr-x', 'dev'],
    ['crw-------', 'dev/console'],
    ['-rwxr-xr-x', 'init'],
    ['drwxr-xr-x', 'lib'],
    ['drwxr-xr-x', 'lib/a'],
    ['-rw-r--r--', 'lib/a/b.ko'],
  ]);
});

test('the bytes do not depend on the order of the files', () => {
  assert.deepEqual(initramfs(files, 7), initramfs([...files].reverse(), 7));
});

test('a path that is not plain is refused', () => {
  for (const path of ['/init', 'a/../b', 'a//b', './a']) {
    assert.throws(() => initramfs([{ path, content: Buffer.alloc(0), mode: 0o644 }], 0), /not relative and plain/);
  }
});
