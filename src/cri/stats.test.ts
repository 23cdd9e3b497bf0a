import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { sleep } from '../base/deadline.ts';
import { HuskError } from '../base/errors.ts';
import {
  type ContainerEventResponse,
  ContainerEventType,
  type ContainerStatsResponse,
  type ContainerStatusResponse,
  type CreateContainerResponse,
  ImageSpec,
  LinuxContainerResources,
  type ListContainerStatsResponse,
  type ListMetricDescriptorsResponse,
  type ListPodSandboxMetricsResponse,
  type ListPodSandboxStatsResponse,
  type PodSandboxStatsResponse,
  type RunPodSandboxResponse,
  type StreamContainersResponse,
} from '../gen/cri/v1/api.ts';
import { containerConfig, type Fixture, podConfig, startFixture } from './fixture.ts';

/** A pod with a container that runs. */
async function runPod(fixture: Fixture, name: string): Promise<{ pod: string; container: string }> {
  await fixture.call('pullImage', { image: ImageSpec.create({ image: 'busybox:1' }) });
  const config = podConfig({ metadata: { name, namespace: 'default', uid: name, attempt: 0 } });
  const { podSandboxId: pod } = await fixture.call<object, RunPodSandboxResponse>('runPodSandbox', {
    config,
    runtimeHandler: '',
  });
  const request = { podSandboxId: pod, config: containerConfig(), sandboxConfig: config };
  const { containerId } = await fixture.call<object, CreateContainerResponse>('createContainer', request);
  await fixture.call('startContainer', { containerId });
  return { pod, container: containerId };
}

async function listStats(fixture: Fixture, filter: object = {}): Promise<ListContainerStatsResponse['stats']> {
  const whole = { id: '', podSandboxId: '', labelSelector: {}, ...filter };
  return (await fixture.call<object, ListContainerStatsResponse>('listContainerStats', { filter: whole })).stats;
}

test('statistics of a container and of its pod', async () => {
  await using fixture = await startFixture();
  const { pod, container } = await runPod(fixture, 'web');
  const { stats } = await fixture.call<object, ContainerStatsResponse>('containerStats', { containerId: container });
  assert.equal(stats?.attributes?.metadata?.name, 'app');
  assert.ok((stats.cpu?.timestamp ?? 0n) > 0n && (stats.memory?.timestamp ?? 0n) > 0n);
  assert.equal(stats.memory?.usageBytes?.value, 4_096n);
  assert.equal(stats.cpu?.usageNanoCores, undefined, 'one look has no rate');
  const ofPod = await fixture.call<object, PodSandboxStatsResponse>('podSandboxStats', { podSandboxId: pod });
  assert.equal(ofPod.stats?.attributes?.id, pod);
  assert.equal(ofPod.stats?.linux?.containers[0]?.attributes?.id, container);
  assert.equal(fixture.node.calls.filter((call) => call.startsWith('stats')).length, 1, 'one look serves both');
});

test('a container that is not there is not found, one that has exited has none', async () => {
  await using fixture = await startFixture();
  await assert.rejects(fixture.call('containerStats', { containerId: 'f'.repeat(64) }), { code: status.NOT_FOUND });
  const { pod, container } = await runPod(fixture, 'web');
  fixture.vm.exit(pod, container, 0);
  await assert.rejects(fixture.call('containerStats', { containerId: container }), {
    code: status.FAILED_PRECONDITION,
    details: /it is exited/,
  });
  assert.deepEqual(await listStats(fixture), []);
});

test('a list is filtered by id, pod and labels, and may have no filter at all', async () => {
  await using fixture = await startFixture();
  const [one, two] = [await runPod(fixture, 'one'), await runPod(fixture, 'two')];
  const idsOf = (stats: ListContainerStatsResponse['stats']): string[] =>
    stats.map(({ attributes }) => attributes?.id ?? '').toSorted((a, b) => (a < b ? -1 : 1));
  const all = await fixture.call<object, ListContainerStatsResponse>('listContainerStats', { filter: undefined });
  assert.deepEqual(new Set(idsOf(all.stats)), new Set([one.container, two.container]));
  assert.deepEqual(idsOf(await listStats(fixture, { podSandboxId: two.pod })), [two.container]);
  assert.deepEqual(idsOf(await listStats(fixture, { id: one.container })), [one.container]);
  assert.equal((await listStats(fixture, { labelSelector: { tier: 'front' } })).length, 2);
  assert.deepEqual(await listStats(fixture, { labelSelector: { tier: 'back' } }), []);
  const filter = { id: one.pod, labelSelector: {} };
  const pods = await fixture.call<object, ListPodSandboxStatsResponse>('listPodSandboxStats', { filter });
  assert.deepEqual(
    pods.stats.map(({ attributes }) => attributes?.id),
    [one.pod],
  );
});

test('a guest that fails is left out of a list, and one that is stuck holds up nobody for long', async () => {
  await using fixture = await startFixture();
  await runPod(fixture, 'web');
  fixture.node.break('stats', new HuskError('data-loss', 'agent protocol: nonsense'));
  assert.deepEqual(await listStats(fixture), []);
  fixture.node.mend('stats');
  assert.equal((await listStats(fixture)).length, 1);
  const release = fixture.node.gate('stats');
  // Asks for more than the last look found, so that a new one is needed at once.
  const metrics = await fixture.call<object, ListPodSandboxMetricsResponse>('listPodSandboxMetrics', {});
  assert.equal(metrics.podMetrics.length, 1, 'what was known before is told');
  release();
});

test('lists do not ask pods that have not run since they were asked last, be they stuck', async () => {
  await using fixture = await startFixture();
  const pods = await Promise.all(['a', 'b', 'c'].map((name) => runPod(fixture, name)));
  assert.equal((await listStats(fixture)).length, 3);
  const asked = (): number => fixture.node.calls.filter((call) => call.startsWith('stats')).length;
  assert.equal(asked(), 3);
  const release = fixture.node.gate('stats');
  await sleep(1_050);
  const startedMs = performance.now();
  assert.equal((await listStats(fixture)).length, 3);
  const elapsedMs = performance.now() - startedMs;
  assert.ok(elapsedMs < 500, `the list took ${elapsedMs} ms`);
  // Their word had no rate yet: they are asked again, two at a time, and nobody waits for it.
  assert.equal(asked(), 5);
  release();
  const [first] = pods as [{ pod: string; container: string }];
  fixture.vm.exit(first.pod, first.container, 0);
  assert.equal((await listStats(fixture)).length, 2, 'an exit is seen at once');
});

test('all metrics are described, and those of a pod are told with as many labels', async () => {
  await using fixture = await startFixture();
  const { pod, container } = await runPod(fixture, 'web');
  const { descriptors } = await fixture.call<object, ListMetricDescriptorsResponse>('listMetricDescriptors', {});
  const keys = new Map(descriptors.map(({ name, labelKeys }) => [name, labelKeys]));
  assert.equal(keys.size, 56);
  const answer = await fixture.call<object, ListPodSandboxMetricsResponse>('listPodSandboxMetrics', {});
  const [metrics] = answer.podMetrics;
  assert.equal(metrics?.podSandboxId, pod);
  assert.equal(metrics.containerMetrics[0]?.containerId, container);
  for (const metric of metrics.containerMetrics[0].metrics) {
    assert.equal(metric.labelValues.length, keys.get(metric.name)?.length, metric.name);
  }
  const usage = metrics.containerMetrics[0].metrics.find(({ name }) => name === 'container_memory_usage_bytes');
  assert.deepEqual(usage?.labelValues.slice(3), ['app', 'web', 'default']);
});

test('changed limits are told by ContainerStatus, and refused ones change nothing', async () => {
  await using fixture = await startFixture();
  const { pod, container } = await runPod(fixture, 'web');
  const update = (linux: object): Promise<unknown> =>
    fixture.call('updateContainerResources', {
      containerId: container,
      linux: LinuxContainerResources.fromPartial(linux),
      windows: undefined,
      annotations: {},
    });
  const told = async (): Promise<[bigint | undefined, bigint | undefined]> => {
    const request = { containerId: container, verbose: false };
    const response = await fixture.call<object, ContainerStatusResponse>('containerStatus', request);
    const linux = response.status?.resources?.linux;
    return [linux?.cpuShares, linux?.memoryLimitInBytes];
  };
  await update({ cpuShares: 512n });
  await update({ memoryLimitInBytes: 1_048_576n });
  assert.deepEqual(await told(), [512n, 1_048_576n]);
  await assert.rejects(update({ cpuShares: -1n }), { code: status.INVALID_ARGUMENT, details: /cpu_shares/ });
  fixture.node.break('updateContainer', new HuskError('failed-precondition', 'set memory.max: in use'));
  await assert.rejects(update({ memoryLimitInBytes: 1n }), { code: status.FAILED_PRECONDITION });
  assert.deepEqual(await told(), [512n, 1_048_576n]);
  fixture.node.mend('updateContainer');
  fixture.vm.exit(pod, container, 0);
  await assert.rejects(update({ cpuShares: 2n }), { code: status.FAILED_PRECONDITION, details: /exited/ });
  await fixture.call('updatePodSandboxResources', { podSandboxId: pod, overhead: undefined, resources: undefined });
});

test('events tell the life of a pod and its container, with their statuses', async () => {
  await using fixture = await startFixture();
  const stream = fixture.stream<ContainerEventResponse>('getContainerEvents', {});
  const events: [string, ContainerEventType][] = [];
  const statuses: number[] = [];
  stream.on('data', (event: ContainerEventResponse) => {
    events.push([event.containerId, event.containerEventType]);
    statuses.push(event.containersStatuses.length);
  });
  stream.on('error', () => undefined);
  await once(stream, 'metadata');
  const { pod, container } = await runPod(fixture, 'web');
  fixture.vm.exit(pod, container, 3);
  await fixture.call('removeContainer', { containerId: container });
  await fixture.call('stopPodSandbox', { podSandboxId: pod });
  await fixture.call('removePodSandbox', { podSandboxId: pod });
  while (events.length < 8) await once(stream, 'data');
  const { CONTAINER_CREATED_EVENT, CONTAINER_STARTED_EVENT, CONTAINER_STOPPED_EVENT, CONTAINER_DELETED_EVENT } =
    ContainerEventType;
  assert.deepEqual(events, [
    [pod, CONTAINER_CREATED_EVENT],
    [pod, CONTAINER_STARTED_EVENT],
    [container, CONTAINER_CREATED_EVENT],
    [container, CONTAINER_STARTED_EVENT],
    [container, CONTAINER_STOPPED_EVENT],
    [container, CONTAINER_DELETED_EVENT],
    [pod, CONTAINER_STOPPED_EVENT],
    [pod, CONTAINER_DELETED_EVENT],
  ]);
  assert.deepEqual(statuses, [0, 0, 1, 1, 1, 0, 0, 0]);
  stream.cancel();
});

test('streaming lists hold each item once, and no message when there is none', async () => {
  await using fixture = await startFixture();
  const read = async <T>(rpc: string): Promise<T[]> => {
    const messages: T[] = [];
    for await (const message of fixture.stream<T>(rpc, { filter: undefined })) messages.push(message as T);
    return messages;
  };
  const rpcs = ['streamPodSandboxes', 'streamContainers', 'streamContainerStats', 'streamPodSandboxStats'];
  for (const rpc of [...rpcs, 'streamPodSandboxMetrics', 'streamImages']) assert.deepEqual(await read(rpc), [], rpc);
  const { container } = await runPod(fixture, 'web');
  const [message, ...more] = await read<StreamContainersResponse>('streamContainers');
  assert.deepEqual([message?.containers.map(({ id }) => id), more], [[container], []]);
  for (const rpc of [...rpcs, 'streamPodSandboxMetrics', 'streamImages'])
    assert.equal((await read(rpc)).length, 1, rpc);
});
