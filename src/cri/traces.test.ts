/** What observers see of CRI calls, over a real socket. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ImageSpec, type PodSandboxStatusResponse, type RunPodSandboxResponse } from '../gen/cri/v1/api.ts';
import type { CallTrace } from '../metrics/pod-traces.ts';
import { containerConfig, podConfig, startFixture } from './fixture.ts';

const header = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

test('a pod’s verbose status has the traces of its calls, its containers’ among them', async () => {
  await using fixture = await startFixture();
  await fixture.call('pullImage', { image: ImageSpec.create({ image: 'busybox:1' }) });
  const config = podConfig();
  const { podSandboxId } = await fixture.call<object, RunPodSandboxResponse>('runPodSandbox', {
    config,
    runtimeHandler: '',
  });
  const { containerId } = await fixture.call<object, { containerId: string }>('createContainer', {
    podSandboxId,
    config: containerConfig(),
    sandboxConfig: config,
  });
  await fixture.call('startContainer', { containerId });
  await fixture.call('removeContainer', { containerId });
  const { info } = await fixture.call<object, PodSandboxStatusResponse>('podSandboxStatus', {
    podSandboxId: podSandboxId.slice(0, 20),
    verbose: true,
  });
  const calls = JSON.parse(info['calls'] ?? '') as CallTrace[];
  assert.deepEqual(
    calls.map(({ rpc, code, spans }) => [rpc, code, spans[0]?.name]),
    ['RunPodSandbox', 'CreateContainer', 'StartContainer', 'RemoveContainer'].map((rpc) => [rpc, 'OK', rpc]),
  );
  assert.ok(fixture.finished.slice(1).every(({ podId }) => podId === podSandboxId));
});

test('a caller’s trace goes on, and a call that fails is told with its status', async () => {
  await using fixture = await startFixture();
  await assert.rejects(
    fixture.call('startContainer', { containerId: 'f'.repeat(64) }, { headers: { traceparent: header } }),
  );
  await fixture.call('version', { version: '' });
  const [failed, fine] = fixture.finished;
  assert.deepEqual([failed?.rpc, failed?.code, failed?.podId], ['StartContainer', 'NOT_FOUND', '']);
  assert.equal(failed?.trace.traceId, header.slice(3, 35));
  assert.equal(failed?.trace.remote?.spanId, header.slice(36, 52));
  assert.equal(failed?.trace.spans[0]?.failed, true);
  assert.deepEqual([fine?.rpc, fine?.code, fine?.trace.remote], ['Version', 'OK', undefined]);
  assert.match(fine?.trace.traceId ?? '', /^[0-9a-f]{32}$/);
});
