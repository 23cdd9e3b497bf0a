import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FinishedCall } from './call.ts';
import { PodTraces } from './pod-traces.ts';

const call = (rpc: string, podId: string): FinishedCall => ({
  rpc,
  podId,
  code: 'OK',
  ms: 1,
  trace: { traceId: 'a'.repeat(32), remote: undefined, startedAtNs: 5n, spans: [], dropped: 0 },
});

test('the calls of a pod’s life are kept in order, polls are not', () => {
  const traces = new PodTraces();
  for (const rpc of ['RunPodSandbox', 'PodSandboxStatus', 'CreateContainer', 'ListContainers', 'StartContainer']) {
    traces.observe(call(rpc, 'a'));
  }
  traces.observe(call('Version', ''));
  assert.deepEqual(
    traces.of('a').map(({ rpc }) => rpc),
    ['RunPodSandbox', 'CreateContainer', 'StartContainer'],
  );
  assert.equal(traces.of('a')[0]?.startedAtNs, '5');
  assert.deepEqual(traces.of('b'), []);
});

test('neither pods nor calls grow without bound', () => {
  const traces = new PodTraces();
  for (let index = 0; index < 100; index += 1) traces.observe(call('ExecSync', 'a'));
  assert.equal(traces.of('a').length, 4);
  for (let index = 0; index < 100; index += 1) traces.observe(call('CreateContainer', 'a'));
  assert.equal(traces.of('a').length, 32);
  for (let index = 0; index < 600; index += 1) traces.observe(call('RunPodSandbox', `pod-${index}`));
  assert.deepEqual([traces.of('a').length, traces.of('pod-0').length, traces.of('pod-599').length], [0, 0, 1]);
});
