import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diskRead, fileWork, volumeMetrics } from './volume-metrics.ts';

const lines = [
  'write 256 32000000 2.0',
  'read 256 32000000 0.5',
  'random-read 300 1228800 1.5',
  'random-write 300 1228800 3.0',
  'fstat 300 0 0.1',
  'create 300 300 3.0',
  'stat 300 0 0.3',
  'open-read 300 300 1.0',
  'unlink 300 0 2.0',
];

test('figures are rates, of bytes or of operations', () => {
  const found = new Map(fileWork(`${lines.join('\n')}\n`).map(({ work, figure }) => [work, figure]));
  assert.equal(found.get('write'), 16);
  assert.equal(found.get('random-read'), 200);
  assert.equal(found.get('create'), 100);
  assert.equal(found.size, 8);
  assert.equal(fileWork(`${lines.slice(0, 5).join('\n')}\n`).length, 4, 'without small files');
  assert.equal(diskRead('disk-read 256 32000000 0.5\n'), 64);
  assert.throws(() => diskRead('read 256 32000000 0.5\n'), /file-work said/);
  // Four places with nine kinds of work each, a raw disk, three pods that start, and what volumes add.
  assert.equal(volumeMetrics.length, 43);
});

test('what is promised of live sharing, of starts and of the root file system has a target', () => {
  const targets = volumeMetrics.flatMap(({ id, target, judge }) =>
    target === undefined ? [] : [[id, judge.better, target]],
  );
  const small = ['create', 'stat', 'open-read', 'unlink'];
  assert.deepEqual(targets, [
    ...['empty-dir', 'host-path'].flatMap((place) => [
      ...['write', 'read'].map((work) => [`volume-${place}-${work}`, 'higher', 50]),
      ...small.map((work) => [`volume-${place}-${work}`, 'higher', 1000]),
    ]),
    ['volume-rootfs-of-raw', 'higher', 0.7],
    ['volume-adds-copied', 'lower', 60],
    ['volume-adds-live', 'lower', 60],
  ]);
});

test('an output that is not whole is refused', () => {
  assert.throws(() => fileWork(lines.slice(1).join('\n')), /file-work said/);
  assert.throws(() => fileWork(lines.join('\n').replace('2.0', 'x')), /file-work said/);
});
