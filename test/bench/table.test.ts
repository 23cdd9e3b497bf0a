import assert from 'node:assert/strict';
import { test } from 'node:test';
import { metrics } from './metrics.ts';
import { rowsOf } from './table.ts';

const row = (id: string, husk: readonly number[], peer: Readonly<Record<string, readonly number[]>>) =>
  rowsOf({ samples: { [id]: { husk, ...peer } }, missing: {} })[0]!;

test('a ratio is judged against target and stretch', () => {
  const containerd = [100, 100, 100];
  assert.deepEqual(
    [120, 200, 300].map((value) => row('run', [value, value, value], { containerd }).verdict),
    ['stretch met', 'met', 'missed'],
  );
  const { judged, interval, husk } = row('run', [190, 200, 210], { containerd });
  assert.equal(judged, 2);
  assert.ok(interval!.low >= 1.9 && interval!.high <= 2.1);
  assert.deepEqual(husk, { count: 3, p50: 200, p90: 208 });
});

test('where more is better, less than the target is a miss', () => {
  assert.equal(row('burst', [4], { containerd: [10] }).verdict, 'missed');
  assert.equal(row('burst', [6], { containerd: [10] }).verdict, 'met');
  assert.equal(row('burst', [11], { containerd: [10] }).verdict, 'stretch met');
});

test('a value is judged by itself, a clone against its own cold boot', () => {
  assert.equal(row('memory', [45], { containerd: [4] }).verdict, 'met');
  assert.equal(row('clone', [50], { 'cold boot': [6000] }).verdict, 'stretch met');
});

test('what was not measured says why, and is never met', () => {
  const { verdict, why, judged } = row('run', [1, 2], {});
  assert.deepEqual([verdict, why, judged], ['not measured', 'no sample of containerd', undefined]);
  const [missing] = rowsOf({ samples: {}, missing: { loop: 'no endpoint' } });
  assert.deepEqual([missing?.verdict, missing?.why], ['not measured', 'no endpoint']);
});

test('every metric has a name of its own, and a stretch, if any, that is harder than its target', () => {
  assert.equal(new Set(metrics.map(({ id }) => id)).size, metrics.length);
  for (const { id, judge, target, stretch } of metrics) {
    if (target === undefined || stretch === undefined) continue;
    assert.ok(judge.better === 'lower' ? stretch < target : stretch > target, id);
  }
});
