import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CallMetrics } from './call-metrics.ts';
import { serveMetrics } from './endpoint.ts';
import { DelayHistogram, watchEventLoop } from './event-loop.ts';
import { exposition, histogramSamples } from './exposition.ts';
import { processFamilies } from './process-metrics.ts';

const trace = { traceId: '', remote: undefined, startedAtNs: 0n, spans: [], dropped: 0 };

test('calls are counted by RPC and status, and their durations by RPC', () => {
  const calls = new CallMetrics();
  calls.observe({ rpc: 'RunPodSandbox', code: 'OK', ms: 45, podId: '', trace });
  calls.observe({ rpc: 'RunPodSandbox', code: 'NOT_FOUND', ms: 2, podId: '', trace });
  const text = exposition(calls.families());
  assert.match(text, /^husk_cri_calls_total\{rpc="RunPodSandbox",code="OK"\} 1$/m);
  assert.match(text, /^husk_cri_call_duration_seconds_bucket\{rpc="RunPodSandbox",le="0.05"\} 2$/m);
  assert.match(text, /^husk_cri_call_duration_seconds_bucket\{rpc="RunPodSandbox",le="0.04"\} 1$/m);
  assert.match(text, /^husk_cri_call_duration_seconds_sum\{rpc="RunPodSandbox"\} 0.047$/m);
  assert.match(text, /^# TYPE husk_cri_call_duration_seconds histogram$/m);
});

test('a histogram is cumulative and ends without a bound', () => {
  const delays = new DelayHistogram();
  for (const ms of [0.5, 1, 7, 99_999]) delays.add(ms);
  const buckets = delays.buckets();
  assert.deepEqual(buckets.at(0), { le: 1, count: 2 });
  assert.deepEqual(buckets.at(-2)?.count, 3);
  assert.deepEqual(buckets.at(-1), { le: Number.POSITIVE_INFINITY, count: 4 });
  assert.equal(histogramSamples(buckets, delays.sumMs).at(-1)?.value, 4);
});

test('a blocked event loop is seen', async () => {
  const loop = watchEventLoop(5);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const end = performance.now() + 80;
  while (performance.now() < end);
  await new Promise((resolve) => setTimeout(resolve, 20));
  loop.stop();
  const atMost50 = loop.delays.buckets().find(({ le }) => le === 50);
  assert.ok((loop.delays.buckets().at(-1)?.count ?? 0) > (atMost50?.count ?? 0), 'no delay above 50 ms');
});

test('labels cannot break out of their quotes', () => {
  const text = exposition([{ name: 'x', help: 'y', type: 'gauge', samples: [{ labels: { a: '"\n\\' }, value: 1 }] }]);
  assert.match(text, /^x\{a="\\"\\n\\\\"\} 1$/m);
});

test('the endpoint serves metrics on loopback and nothing else', async () => {
  await using endpoint = await serveMetrics('127.0.0.1:0', processFamilies);
  const answer = await fetch(`http://${endpoint.address}/metrics`);
  assert.match(answer.headers.get('content-type') ?? '', /^text\/plain; version=0.0.4/);
  assert.match(await answer.text(), /^process_resident_memory_bytes \d{7,}$/m);
  for (const [path, method] of [
    ['/', 'GET'],
    ['/metrics', 'POST'],
  ] as const) {
    const other = await fetch(`http://${endpoint.address}${path}`, { method });
    await other.text();
    assert.equal(other.status, 404);
  }
  for (const address of ['0.0.0.0:0', '10.0.0.1:1', 'localhost:1', '127.0.0.1']) {
    await assert.rejects(serveMetrics(address, processFamilies), { kind: 'invalid-argument' }, address);
  }
});
