import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { HuskError } from '../base/errors.ts';
import {
  ContainerState,
  type ContainerStatus,
  type ContainerStatusResponse,
  type CreateContainerResponse,
  type ExecSyncResponse,
  ImageSpec,
  LinuxContainerConfig,
  type ListContainersResponse,
  type RunPodSandboxResponse,
  Signal,
} from '../gen/cri/v1/api.ts';
import { fit } from './container-exec-sync.ts';
import { containerConfig, type Fixture, podConfig, startFixture } from './fixture.ts';

interface World extends Fixture {
  readonly pod: string;
}

async function startWorld(): Promise<World> {
  await using undo = new AsyncDisposableStack();
  const fixture = undo.use(await startFixture());
  await fixture.call('pullImage', { image: ImageSpec.create({ image: 'busybox:1' }) });
  const request = { config: podConfig(), runtimeHandler: '' };
  const { podSandboxId: pod } = await fixture.call<object, RunPodSandboxResponse>('runPodSandbox', request);
  undo.move();
  return { ...fixture, pod };
}

async function create(world: World, change = {}): Promise<string> {
  const request = { podSandboxId: world.pod, config: containerConfig(change), sandboxConfig: podConfig() };
  return (await world.call<object, CreateContainerResponse>('createContainer', request)).containerId;
}

async function started(world: World): Promise<string> {
  const containerId = await create(world);
  await world.call('startContainer', { containerId });
  return containerId;
}

async function statusOf(world: World, containerId: string): Promise<ContainerStatus> {
  const response = await world.call<object, ContainerStatusResponse>('containerStatus', {
    containerId,
    verbose: false,
  });
  assert.ok(response.status);
  return response.status;
}

async function list(world: World, filter: object = {}): Promise<ListContainersResponse['containers']> {
  const whole = { id: '', state: undefined, podSandboxId: '', labelSelector: {}, ...filter };
  return (await world.call<object, ListContainersResponse>('listContainers', { filter: whole })).containers;
}

test('a container is created, runs, ends, and is told of in full', async () => {
  await using world = await startWorld();
  const id = await create(world);
  const image = world.images.list()[0]?.id ?? '';
  const created = await statusOf(world, id);
  assert.equal(created.state, ContainerState.CONTAINER_CREATED);
  assert.equal(created.startedAt, 0n);
  assert.equal(created.logPath, '/var/log/pods/default_web-0_7a1f/app/0.log');
  assert.deepEqual([created.imageRef, created.imageId, created.image?.image], [image, image, 'busybox:1']);
  assert.equal(created.stopSignal, Signal.SIGQUIT);
  assert.deepEqual(created.user?.linux?.supplementalGroups, [10n]);
  assert.ok(created.createdAt > 0n);
  await world.call('startContainer', { containerId: id });
  assert.equal((await statusOf(world, id)).state, ContainerState.CONTAINER_RUNNING);
  world.vm.exit(world.pod, id, 3);
  world.vm.exit(world.pod, id, 4);
  const exited = await statusOf(world, id);
  assert.equal(exited.state, ContainerState.CONTAINER_EXITED);
  assert.deepEqual([exited.exitCode, exited.reason, exited.finishedAt], [3, 'Error', 9n]);
});

test('reasons are the words the kubelet knows', async () => {
  await using world = await startWorld();
  const id = await started(world);
  world.vm.exit(world.pod, id, 137, true);
  assert.equal((await statusOf(world, id)).reason, 'OOMKilled');
  await world.call('removeContainer', { containerId: id });
  const second = await started(world);
  world.vm.exit(world.pod, second, 0);
  assert.equal((await statusOf(world, second)).reason, 'Completed');
});

test('a container that was asked for by image id is shown with a tag', async () => {
  await using world = await startWorld();
  const image = world.images.list()[0]?.id ?? '';
  const spec = { image, annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' };
  assert.equal((await statusOf(world, await create(world, { image: spec }))).image?.image, 'busybox:1');
});

test('stop and remove succeed twice, by prefix, and for what is not known', async () => {
  await using world = await startWorld();
  const id = await started(world);
  for (const containerId of [id.slice(0, 13), id, 'f'.repeat(64), '../x']) {
    await world.call('stopContainer', { containerId, timeout: 3n });
  }
  assert.equal((await statusOf(world, id)).exitCode, 143);
  for (const containerId of [id, id, 'f'.repeat(64), 'nobody']) await world.call('removeContainer', { containerId });
  assert.deepEqual(await list(world), []);
  assert.equal(world.images.holds.size, 0);
});

test('a running container is removed by force, and its image hold with it', async () => {
  await using world = await startWorld();
  const id = await started(world);
  assert.equal(world.images.holds.size, 1);
  await world.call('removeContainer', { containerId: id });
  assert.deepEqual(world.node.calls.slice(-2), [`stopContainer ${id}`, `removeContainer ${id}`]);
  assert.equal(world.images.holds.size, 0);
});

test('a stop with less grace does not wait for one with more', async () => {
  await using world = await startWorld();
  const id = await started(world);
  const open = world.node.gate('stopContainer');
  const patient = world.call('stopContainer', { containerId: id, timeout: 9_223_372_036_854_775_807n });
  const hasty = world.call('stopContainer', { containerId: id, timeout: 0n });
  while (world.node.calls.filter((call) => call.startsWith('stopContainer')).length < 2)
    await new Promise(setImmediate);
  open();
  await Promise.all([patient, hasty]);
});

test('what needs another state is FailedPrecondition and names both states', async () => {
  await using world = await startWorld();
  const id = await create(world);
  const exec = { containerId: id, cmd: ['echo'], timeout: 0n };
  await assert.rejects(world.call('execSync', exec), {
    code: status.FAILED_PRECONDITION,
    details: /created, wanted running/,
  });
  await assert.rejects(world.call('reopenContainerLog', { containerId: id }), { code: status.FAILED_PRECONDITION });
  await world.call('startContainer', { containerId: id });
  await assert.rejects(world.call('startContainer', { containerId: id }), { code: status.FAILED_PRECONDITION });
  await world.call('stopPodSandbox', { podSandboxId: world.pod });
  assert.equal((await statusOf(world, id)).state, ContainerState.CONTAINER_EXITED);
  await assert.rejects(create(world, { metadata: { name: 'b', attempt: 0 } }), { code: status.FAILED_PRECONDITION });
});

test('what is not known is NotFound', async () => {
  await using world = await startWorld();
  const containerId = 'f'.repeat(64);
  for (const [rpc, request] of [
    ['containerStatus', { containerId, verbose: false }],
    ['startContainer', { containerId }],
    ['execSync', { containerId, cmd: ['echo'], timeout: 0n }],
    ['reopenContainerLog', { containerId }],
    ['createContainer', { podSandboxId: containerId, config: containerConfig(), sandboxConfig: undefined }],
  ] as const) {
    await assert.rejects(world.call(rpc, request), { code: status.NOT_FOUND }, rpc);
  }
  const absent = { image: 'absent:1', annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' };
  await assert.rejects(create(world, { image: absent }), { code: status.NOT_FOUND, details: /"absent:1"/ });
});

test('the same name in a pod is refused with the id that holds it', async () => {
  await using world = await startWorld();
  const id = await create(world);
  await assert.rejects(create(world), { code: status.ALREADY_EXISTS, details: new RegExp(id) });
  await create(world, { metadata: { name: 'app', attempt: 1 } });
});

test('a CreateContainer that fails leaves nothing and can be tried again, even when its undo failed', async () => {
  await using world = await startWorld();
  world.node.break('createContainer', new HuskError('unimplemented', 'config.mounts "/x": no volumes'));
  world.node.break('removeContainer', new HuskError('internal', 'no'));
  await assert.rejects(create(world), { code: status.UNIMPLEMENTED, details: /config\.mounts/ });
  assert.deepEqual(await list(world), []);
  world.node.mend('createContainer');
  world.node.mend('removeContainer');
  const id = await create(world);
  assert.deepEqual([...world.images.holds.keys()], [id]);
  assert.deepEqual([...(world.node.pods.get(world.pod)?.keys() ?? [])], [id]);
});

test('a container that cannot be started has ended with StartError', async () => {
  await using world = await startWorld();
  const id = await create(world);
  world.node.break('startContainer', new HuskError('invalid-argument', 'start "/nope": no such file'));
  await assert.rejects(world.call('startContainer', { containerId: id }), { code: status.INVALID_ARGUMENT });
  const ended = await statusOf(world, id);
  assert.deepEqual([ended.exitCode, ended.reason], [128, 'StartError']);
  assert.match(ended.message, /no such file/);
});

test('a privileged container in a pod that is not is refused', async () => {
  await using world = await startWorld();
  const linux = LinuxContainerConfig.create({ securityContext: { privileged: true } });
  await assert.rejects(create(world, { linux }), { code: status.INVALID_ARGUMENT, details: /privileged/ });
});

test('ExecSync gives output and exit code, and DeadlineExceeded at the timeout', async () => {
  await using world = await startWorld();
  const containerId = await started(world);
  const run = (cmd: string[], timeout = 0n): Promise<ExecSyncResponse> =>
    world.call<object, ExecSyncResponse>('execSync', { containerId, cmd, timeout });
  assert.equal(Buffer.from((await run(['echo', 'a', 'b'])).stdout).toString(), 'a b');
  const failed = await run(['false']);
  assert.deepEqual([failed.exitCode, Buffer.from(failed.stderr).toString()], [1, 'no']);
  await assert.rejects(run(['sleep'], 1n), { code: status.DEADLINE_EXCEEDED });
  await assert.rejects(run([]), { code: status.INVALID_ARGUMENT });
  await assert.rejects(run(['echo'], -1n), { code: status.INVALID_ARGUMENT });
  await world.call('reopenContainerLog', { containerId });
  assert.equal(world.node.calls.at(-1), `reopenLog ${containerId}`);
});

test('the output of a command is cut to what one answer holds', () => {
  const sizes = (out: number, err: number): number[] => {
    const { stdout, stderr } = fit(new Uint8Array(out), new Uint8Array(err), 10);
    return [stdout.length, stderr.length];
  };
  assert.deepEqual(sizes(4, 6), [4, 6]);
  assert.deepEqual(sizes(20, 2), [8, 2]);
  assert.deepEqual(sizes(2, 20), [2, 8]);
  assert.deepEqual(sizes(20, 20), [5, 5]);
});

test('a pod takes its containers along', async () => {
  await using world = await startWorld();
  const id = await started(world);
  await create(world, { metadata: { name: 'b', attempt: 0 } });
  world.vm.lose(world.pod, 'signal 9');
  const dead = await statusOf(world, id);
  assert.deepEqual([dead.exitCode, dead.reason], [137, 'Error']);
  assert.match(dead.message, /signal 9/);
  await world.call('removePodSandbox', { podSandboxId: world.pod });
  assert.deepEqual(await list(world), []);
  assert.ok(world.node.clean);
  assert.equal(world.images.holds.size, 0);
});

test('filters are joined by AND', async () => {
  await using world = await startWorld();
  const id = await started(world);
  const other = await create(world, { metadata: { name: 'b', attempt: 0 }, labels: { tier: 'back' } });
  const ids = async (filter: object): Promise<string[]> => (await list(world, filter)).map((found) => found.id);
  const running = { state: { state: ContainerState.CONTAINER_RUNNING } };
  assert.deepEqual(await ids({ podSandboxId: world.pod.slice(0, 13) }), [id, other]);
  assert.deepEqual(await ids({ labelSelector: { tier: 'back' } }), [other]);
  assert.deepEqual(await ids({ labelSelector: { tier: 'back' }, ...running }), []);
  assert.deepEqual(await ids({ id: id.slice(0, 13), ...running }), [id]);
  assert.deepEqual(await ids({ id: 'nobody' }), []);
  assert.deepEqual(await ids({ state: { state: ContainerState.CONTAINER_UNKNOWN } }), []);
  await assert.rejects(ids({ state: { state: 9 } }), {
    code: status.INVALID_ARGUMENT,
    details: /filter\.state\.state "9"/,
  });
});
