import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SysOp } from '../../src/guest/sys-batch.ts';
import { LayerTable, partitionPath } from './layers.ts';

const layer = (n: number) => ({ offsetBytes: BigInt(n) * 4096n, sizeBytes: 4000n });
const names = (ops: readonly SysOp[]): string[] => ops.map(({ name, args }) => `${name} ${args.join(' ')}`.trim());

test('a range is mapped once, mounted read-only, and taken away after its last user', () => {
  const table = new LayerTable('/dev/vdb', '/l');
  const first = table.take([layer(1), layer(2)]);
  assert.deepEqual(first.folders, ['1', '2']);
  assert.deepEqual(names(first.ops.slice(0, 3)), [
    'part /dev/vdb 1 4096 4096',
    'mkdir /l/1 448',
    'mount /dev/vdb1 /l/1 squashfs ro,nosuid,nodev',
  ]);
  const second = table.take([layer(2), layer(3), layer(2)]);
  assert.deepEqual(second.folders, ['2', '3', '2']);
  assert.equal(second.ops.length, 3);
  assert.deepEqual(names(table.giveBack([layer(1), layer(2)]).ops), ['umount /l/1', 'unpart /dev/vdb 1']);
  assert.deepEqual(table.take([layer(9)]).folders, ['1']);
  assert.equal(table.giveBack([layer(2), layer(3), layer(2)]).ops.length, 4);
  assert.deepEqual(table.giveBack([layer(2)]).ops, []);
});

test('beyond 255 ranges nothing is taken, and those taken on the way are given back', () => {
  const table = new LayerTable('/dev/loop0', '/l');
  table.take(Array.from({ length: 254 }, (_, n) => layer(n)));
  assert.throws(() => table.take([layer(300), layer(301)]), { kind: 'resource-exhausted' });
  assert.deepEqual(table.take([layer(302)]).folders, ['255']);
});

test('a range that is none is refused', () => {
  const table = new LayerTable('/dev/vdb', '/l');
  assert.throws(() => table.take([{ offsetBytes: 1n, sizeBytes: 1n }]), { kind: 'invalid-argument' });
  assert.throws(() => table.take([{ offsetBytes: 0n, sizeBytes: 0n }]), { kind: 'invalid-argument' });
});

test('a partition is named as the kernel names it', () => {
  assert.equal(partitionPath('/dev/vdb', 12), '/dev/vdb12');
  assert.equal(partitionPath('/dev/loop3', 1), '/dev/loop3p1');
});
