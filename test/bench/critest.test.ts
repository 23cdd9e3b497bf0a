import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCritest } from './critest.ts';

test('durations are sorted by sample and told in milliseconds by operation', () => {
  const text = JSON.stringify({
    operationsNames: ['CreatePod', 'StatusPod'],
    numParallel: 1,
    datapoints: [
      { sampleIndex: 1, operationsDurationsNs: [3_000_000, 400_000], metaInfo: {} },
      { sampleIndex: 0, operationsDurationsNs: [1_000_000, 200_000] },
    ],
  });
  assert.deepEqual(parseCritest(text), { CreatePod: [1, 3], StatusPod: [0.2, 0.4] });
});

test('what is no such file is refused', () => {
  for (const text of ['{}', '{"operationsNames":["a"],"datapoints":[{"operationsDurationsNs":[]}]}']) {
    assert.throws(() => parseCritest(text), { kind: 'data-loss' }, text);
  }
});
