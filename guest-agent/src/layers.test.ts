import assert from 'node:assert/strict';
import { test } from 'node:test';
import { slotBytes, slotCount, slotsEndBytes } from '../../src/guest/layer-slots.ts';
import type { SysOp } from '../../src/guest/sys-batch.ts';
import { LayerTable, partitionPath } from './layers.ts';

/** Outside the slots: the first partition is the one after them. */
const layer = (n: number) => ({ offsetBytes: BigInt(slotsEndBytes + n * 4096), sizeBytes: 4000n });
const inSlot = (n: number) => ({ offsetBytes: BigInt(n * slotBytes), sizeBytes: 4000n });
const first = slotCount + 1;
const names = (ops: readonly SysOp[]): string[] => ops.map(({ name, args }) => `${name} ${args.join(' ')}`.trim());

test('a range is mapped once, mounted read-only, and taken away after its last user', () => {
  const table = new LayerTable('/dev/vdb', '/l');
  const taken = table.take([layer(1), layer(2)]);
  assert.deepEqual(taken.folders, [`${first}`, `${first + 1}`]);
  assert.deepEqual(names(taken.ops.slice(0, 3)), [
    `part /dev/vdb ${first} ${slotsEndBytes + 4096} 4096`,
    `mkdir /l/${first} 448`,
    `mount /dev/vdb${first} /l/${first} squashfs ro,nosuid,nodev`,
  ]);
  const second = table.take([layer(2), layer(3), layer(2)]);
  assert.deepEqual(second.folders, [`${first + 1}`, `${first + 2}`, `${first + 1}`]);
  assert.equal(second.ops.length, 3);
  const back = names(table.giveBack([layer(1), layer(2)]).ops);
  assert.deepEqual(back, [`umount /l/${first}`, `unpart /dev/vdb ${first}`]);
  assert.deepEqual(table.take([layer(9)]).folders, [`${first}`]);
  assert.equal(table.giveBack([layer(2), layer(3), layer(2)]).ops.length, 4);
  assert.deepEqual(table.giveBack([layer(2)]).ops, []);
});

test('a layer in a slot has the partition of the slot, which is made only where no template has', () => {
  const cold = new LayerTable('/dev/vdb', '/l');
  const taken = cold.take([inSlot(2)]);
  assert.deepEqual(taken.folders, ['3']);
  assert.deepEqual(names(taken.ops.slice(0, 1)), [`part /dev/vdb 3 ${2 * slotBytes} 4096`]);
  assert.deepEqual(names(cold.giveBack([inSlot(2)]).ops), ['umount /l/3', 'unpart /dev/vdb 3']);

  const ahead = new LayerTable('/dev/vdb', '/l');
  const slots = names(ahead.mapSlots());
  assert.deepEqual(
    [slots.length, slots[0], slots.at(-1)],
    [
      slotCount,
      `part /dev/vdb 1 0 ${slotBytes}`,
      `part /dev/vdb ${slotCount} ${slotsEndBytes - slotBytes} ${slotBytes}`,
    ],
  );
  assert.deepEqual(
    names(ahead.take([inSlot(2), layer(1)]).ops).map((line) => line.split(' ', 1)[0]),
    ['mkdir', 'mount', 'part', 'mkdir', 'mount'],
  );
  assert.deepEqual(names(ahead.giveBack([inSlot(2)]).ops), ['umount /l/3']);
});

test('beyond 255 partitions nothing is taken, and those taken on the way are given back', () => {
  const table = new LayerTable('/dev/loop0', '/l');
  table.take(Array.from({ length: 254 - slotCount }, (_, n) => layer(n)));
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
