import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { moduleName, modulePlan, withoutSignature } from './modules.ts';

const dependencies = [
  'kernel/fs/ext4/ext4.ko: kernel/lib/crc16.ko kernel/fs/mbcache.ko kernel/fs/jbd2/jbd2.ko',
  'kernel/lib/crc16.ko:',
  'kernel/drivers/char/hw_random/virtio-rng.ko.xz: kernel/drivers/virtio/virtio.ko.xz kernel/drivers/virtio/virtio_ring.ko.xz',
  '',
].join('\n');

test('a module comes after all that it needs, and each file once', () => {
  assert.deepEqual(modulePlan(dependencies, '', ['ext4', 'crc16', 'virtio_rng']), [
    'kernel/fs/jbd2/jbd2.ko',
    'kernel/fs/mbcache.ko',
    'kernel/lib/crc16.ko',
    'kernel/fs/ext4/ext4.ko',
    'kernel/drivers/virtio/virtio_ring.ko.xz',
    'kernel/drivers/virtio/virtio.ko.xz',
    'kernel/drivers/char/hw_random/virtio-rng.ko.xz',
  ]);
});

test('a module that is part of the kernel needs no file, and an unknown one is an error', () => {
  assert.deepEqual(modulePlan(dependencies, 'kernel/fs/fuse/fuse.ko\n', ['fuse']), []);
  assert.throws(() => modulePlan(dependencies, '', ['fuse']), /find the kernel module "fuse"/);
});

test('the name of a module is its file without suffixes, with underscores', () => {
  assert.equal(moduleName('kernel/drivers/char/hw_random/virtio-rng.ko.xz'), 'virtio_rng');
  assert.equal(moduleName('ext4.ko'), 'ext4');
});

test('a signature is cut off, and a module without one stays as it is', () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.uint8Array(), (code, signature) => {
      const info = Buffer.alloc(12);
      info.writeUInt32BE(signature.length, 8);
      const signed = Buffer.concat([code, signature, info, Buffer.from('~Module signature appended~\n')]);
      assert.deepEqual(withoutSignature(signed), Buffer.from(code));
      assert.deepEqual(withoutSignature(Buffer.from(code)), Buffer.from(code));
    }),
  );
});

test('a signature longer than its file is refused', () => {
  const info = Buffer.alloc(12);
  info.writeUInt32BE(1, 8);
  assert.throws(() => withoutSignature(Buffer.concat([info, Buffer.from('~Module signature appended~\n')])), /longer/);
});
