import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkVersion, parseLoaderList, prepareRuntimeRoot } from './runtime-root.ts';

test('QEMU 7.2 and newer will do', () => {
  assert.equal(checkVersion('QEMU emulator version 7.2.22 (Debian 1:7.2)'), '7.2.22');
  assert.equal(checkVersion('QEMU emulator version 10.0.2'), '10.0.2');
  for (const text of ['QEMU emulator version 7.1.0', 'QEMU emulator version 6.2.0', 'something else']) {
    assert.throws(() => checkVersion(text), /want 7.2 or newer/);
  }
});

test('libraries are read from what the loader lists, and a missing one is named', () => {
  const text = '\tlinux-vdso.so.1 (0x1)\n\tlibz.so.1 => /lib/libz.so.1 (0x2)\n\t/lib64/ld-linux-x86-64.so.2 (0x3)\n';
  assert.deepEqual(parseLoaderList(text), ['/lib/libz.so.1']);
  assert.throws(() => parseLoaderList('\tlibx.so.1 => not found\n'), /libx\.so\.1/);
});

test('a host without QEMU is told what to install', async () => {
  await assert.rejects(prepareRuntimeRoot({ folder: '/nonexistent', qemu: '/nonexistent/qemu' }), {
    kind: 'failed-precondition',
    message: 'find QEMU: "/nonexistent/qemu" cannot be read',
    hint: /^install qemu-system-x86/,
  });
});
