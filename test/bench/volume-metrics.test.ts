import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileWork, volumeMetrics } from './volume-metrics.ts';

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
  // Four places with nine kinds of work each, and three pods that start.
  assert.equal(volumeMetrics.length, 39);
});

test('an output that is not whole is refused', () => {
  assert.throws(() => fileWork(lines.slice(1).join('\n')), /file-work said/);
  assert.throws(() => fileWork(lines.join('\n').replace('2.0', 'x')), /file-work said/);
});
