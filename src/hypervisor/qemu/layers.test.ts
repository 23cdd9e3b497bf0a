import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { slotBytes, slotCount, slotsEndBytes } from '../../guest/layer-slots.ts';
import { diskCapacityBytes } from './argv.ts';
import { layerAlignBytes, type PlacedLayer, placeLayers, vmdkDescriptor } from './layers.ts';

const sizes = fc.array(fc.integer({ min: 1, max: 100_000 }), { maxLength: 60 });

function place(sectors: readonly number[]): PlacedLayer[] {
  const files = sectors.map((count, index) => ({ path: `/l/${index}`, sizeBytes: count * 512 }));
  return placeLayers([], files).map(({ file, range }, index) => ({ path: file.path, set: index + 10, ...range }));
}

test('the first layers are in slots; all others start on whole MiB after them, and none overlap', () => {
  fc.assert(
    fc.property(sizes, (sectors) => {
      let end = 0;
      for (const [index, layer] of place(sectors).entries()) {
        assert.ok(layer.offsetBytes >= end && layer.offsetBytes % layerAlignBytes === 0);
        if (index < slotCount) assert.equal(layer.offsetBytes, index * slotBytes);
        else assert.ok(layer.offsetBytes >= slotsEndBytes);
        end = layer.offsetBytes + layer.sizeBytes;
      }
    }),
  );
});

test('the extents cover the whole disk once, each layer at its place', () => {
  fc.assert(
    fc.property(sizes, (sectors) => {
      const layers = place(sectors);
      const starts = new Map<number, number>();
      let at = 0;
      for (const [, count, set] of vmdkDescriptor(layers, 3).matchAll(/^RW (\d+) FLAT "\/dev\/fdset\/(\d+)" 0$/gm)) {
        if (set !== '3') starts.set(Number(set), at);
        at += Number(count) * 512;
      }
      assert.equal(at, diskCapacityBytes);
      assert.deepEqual(
        [...starts],
        layers.map((layer) => [layer.set, layer.offsetBytes]),
      );
    }),
  );
});

test('layers that are there keep their place, and new ones come after them', () => {
  const present = place([10, 5000]);
  const added = placeLayers(present, [
    { path: '/l/1', sizeBytes: 512 },
    { path: '/new', sizeBytes: 512 },
    { path: '/new', sizeBytes: 512 },
  ]);
  assert.deepEqual(
    added.map(({ file, range }) => [file.path, range.offsetBytes]),
    [['/new', 2 * slotBytes]],
  );
});

test('a layer that is larger than a slot takes none, and its descriptor is in the order of the disk', () => {
  const files = [slotBytes + 512, 512, slotBytes, 1024].map((sizeBytes, index) => ({ path: `/l/${index}`, sizeBytes }));
  const placed = placeLayers([], files);
  const offsets = placed.map(({ range }) => range.offsetBytes);
  assert.deepEqual(offsets, [slotsEndBytes, 0, slotBytes, 2 * slotBytes]);
  const layers = placed.map(({ file, range }, index) => ({ path: file.path, set: index + 10, ...range }));
  const sets = [...vmdkDescriptor(layers, 3).matchAll(/fdset\/(\d+)"/g)].map(([, set]) => Number(set));
  assert.deepEqual(sets, [11, 3, 12, 13, 3, 10, 3]);
});

test('on the disk of an earlier version, packed without slots, new layers overlap nothing', () => {
  const old = (offsetBytes: number, sizeBytes: number): PlacedLayer => ({
    path: '/old',
    set: 9,
    offsetBytes,
    sizeBytes,
  });
  const added = (...present: PlacedLayer[]): number | undefined =>
    placeLayers(present, [{ path: '/new', sizeBytes: 512 }])[0]?.range.offsetBytes;
  assert.equal(added(old(0, 512), old(layerAlignBytes, 3 * slotBytes)), 4 * slotBytes);
  assert.equal(added(old(0, slotsEndBytes + 512)), slotsEndBytes + layerAlignBytes);
});

test('broken sizes and too many layers are refused', () => {
  for (const sizeBytes of [0, -512, 100, Number.NaN, 2 ** 60]) {
    assert.throws(() => placeLayers([], [{ path: '/l', sizeBytes }]));
  }
  assert.throws(() => place(Array.from({ length: 257 }, () => 1)), /at most 256/);
});
