import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDepends, payloadOf } from './kernel.ts';

test('the kernel behind a meta package is its exact dependency', () => {
  const control = 'Package: linux-image-amd64\nVersion: 6.1.9-2\nDepends: linux-image-6.1.0-9-amd64 (= 6.1.9-2)\n';
  assert.deepEqual(parseDepends(control), { name: 'linux-image-6.1.0-9-amd64', version: '6.1.9-2' });
  assert.equal(parseDepends('Package: x\nDepends: libc6 (>= 2.36)\n'), undefined);
  assert.equal(parseDepends(''), undefined);
});

test('the payload of a bzImage lies where its header says', () => {
  const image = Buffer.alloc(4096);
  image.writeUInt8(2, 0x1f1);
  image.write('HdrS', 0x202, 'latin1');
  image.writeUInt32LE(16, 0x248);
  image.writeUInt32LE(7, 0x24c);
  image.write('payload', 3 * 512 + 16, 'latin1');
  assert.equal(payloadOf(image).toString('latin1'), 'payload');
});

test('what is no bzImage is refused', () => {
  assert.throws(() => payloadOf(Buffer.alloc(4096)), /no boot header "HdrS"/);
  assert.throws(() => payloadOf(Buffer.alloc(10)), /not a bzImage/);
});
