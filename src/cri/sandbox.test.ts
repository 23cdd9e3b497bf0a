import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { HuskError } from '../base/errors.ts';
import {
  LinuxPodSandboxConfig,
  type ListPodSandboxResponse,
  NamespaceMode,
  NamespaceOption,
  PodSandboxState,
  type PodSandboxStatusResponse,
  type RunPodSandboxResponse,
} from '../gen/cri/v1/api.ts';
import { type Fixture, podConfig, startFixture } from './fixture.ts';

async function run(fixture: Fixture, config = podConfig(), runtimeHandler = ''): Promise<string> {
  return (await fixture.call<object, RunPodSandboxResponse>('runPodSandbox', { config, runtimeHandler })).podSandboxId;
}

async function list(fixture: Fixture, filter: object = {}): Promise<ListPodSandboxResponse['items']> {
  const whole = { id: '', state: undefined, labelSelector: {}, ...filter };
  return (await fixture.call<object, ListPodSandboxResponse>('listPodSandbox', { filter: whole })).items;
}

const namespaceOptions = NamespaceOption.create({ network: NamespaceMode.NODE });
const hostNetwork = podConfig({
  linux: LinuxPodSandboxConfig.create({ securityContext: { namespaceOptions } }),
});

test('a pod is ready after RunPodSandbox, with addresses, labels and annotations as they came', async () => {
  await using fixture = await startFixture();
  const labels = { app: 'web', 'ü/é': '日本 \ufffd', '': '' };
  delete (labels as Record<string, string>)[''];
  const id = await run(fixture, podConfig({ labels }));
  const response = await fixture.call<object, PodSandboxStatusResponse>('podSandboxStatus', {
    podSandboxId: id,
    verbose: true,
  });
  const pod = response.status;
  assert.equal(pod?.state, PodSandboxState.SANDBOX_READY);
  assert.deepEqual({ ...pod?.labels }, labels);
  assert.deepEqual({ ...pod?.annotations }, { note: 'two\nlines' });
  assert.equal(pod?.network?.ip, '10.88.0.2');
  assert.equal(pod?.network?.additionalIps[0]?.ip, 'fd00::2');
  assert.ok((pod?.createdAt ?? 0n) > 0n && response.timestamp > 0n);
  for (const key of ['pid', 'runtime', 'runtimeReason', 'reason', 'timeline', 'config'])
    JSON.parse(response.info[key] ?? '');
  assert.equal(response.info['pid'], '4711');
  assert.match(response.info['config'] ?? '', /web-0/);
});

test('the same name is refused with the id that holds it, until that pod is removed', async () => {
  await using fixture = await startFixture();
  const id = await run(fixture);
  await assert.rejects(run(fixture), (error: { code: number; details: string }) => {
    assert.equal(error.code, status.ALREADY_EXISTS);
    return error.details.includes(id);
  });
  await fixture.call('removePodSandbox', { podSandboxId: id });
  await run(fixture);
});

test('stop and remove succeed twice, by prefix, and for what is not known', async () => {
  await using fixture = await startFixture();
  const id = await run(fixture);
  for (const podSandboxId of [id.slice(0, 13), id, 'f'.repeat(64), 'no-such-pod', '../../etc']) {
    await fixture.call('stopPodSandbox', { podSandboxId });
  }
  const [item] = await list(fixture, { id: id.slice(0, 13) });
  assert.equal(item?.state, PodSandboxState.SANDBOX_NOTREADY);
  for (const podSandboxId of [id, id, 'f'.repeat(64), 'no-such-pod'])
    await fixture.call('removePodSandbox', { podSandboxId });
  assert.deepEqual(await list(fixture), []);
  assert.ok(fixture.node.clean);
  assert.equal(fixture.engine.busyPods, 0);
});

test('an ambiguous prefix, and an empty id, act on nothing', async () => {
  await using fixture = await startFixture();
  const ids = [];
  for (let attempt = 0; attempt < 17; attempt += 1) {
    const metadata = { name: 'web-0', namespace: 'default', uid: '7a1f', attempt };
    ids.push(await run(fixture, podConfig({ metadata })));
  }
  const digit = ids.map(([first = '']) => first).find((first, at, all) => all.indexOf(first) !== at);
  for (const podSandboxId of [digit, '']) {
    await assert.rejects(fixture.call('stopPodSandbox', { podSandboxId }), { code: status.INVALID_ARGUMENT });
  }
  assert.equal((await list(fixture, { state: { state: PodSandboxState.SANDBOX_READY } })).length, 17);
});

test('status of an unknown pod is NotFound', async () => {
  await using fixture = await startFixture();
  await assert.rejects(fixture.call('podSandboxStatus', { podSandboxId: 'f'.repeat(64), verbose: false }), {
    code: status.NOT_FOUND,
  });
});

test('a RunPodSandbox that fails leaves nothing, and its name is free', async () => {
  await using fixture = await startFixture();
  fixture.node.break(
    'runSandbox',
    new HuskError('unavailable', 'run the plugin "bridge": exit code 1', { stage: 'cni-add' }),
  );
  await assert.rejects(run(fixture), { code: status.UNAVAILABLE, details: /stage cni-add: run the plugin "bridge"/ });
  assert.ok(fixture.node.clean);
  assert.deepEqual(await list(fixture), []);
  fixture.node.mend('runSandbox');
  await run(fixture);
});

test('when even the clean-up fails the pod is listed as not ready, and removal finishes', async () => {
  await using fixture = await startFixture();
  fixture.node.break('runSandbox', new HuskError('internal', 'no'));
  fixture.node.break('sweep', new HuskError('internal', 'no either'));
  await assert.rejects(run(fixture), { code: status.INTERNAL });
  const [item] = await list(fixture);
  assert.equal(item?.state, PodSandboxState.SANDBOX_NOTREADY);
  await fixture.call('removePodSandbox', { podSandboxId: item?.id });
  assert.ok(fixture.node.clean);
});

test('a client that leaves ends RunPodSandbox, and nothing is left', async () => {
  await using fixture = await startFixture();
  const open = fixture.node.gate('runSandbox');
  const leaving = new AbortController();
  const running = fixture.call(
    'runPodSandbox',
    { config: podConfig(), runtimeHandler: '' },
    { signal: leaving.signal },
  );
  while (fixture.node.calls.length === 0) await new Promise(setImmediate);
  leaving.abort();
  await assert.rejects(running, { code: status.CANCELLED });
  while (fixture.engine.busyPods > 0) await new Promise(setImmediate);
  open();
  assert.ok(fixture.node.clean);
  assert.deepEqual(await list(fixture), []);
});

test('the operations of one pod wait for each other', async () => {
  await using fixture = await startFixture();
  const id = await run(fixture);
  const open = fixture.node.gate('stopSandbox');
  const both = [
    fixture.call('stopPodSandbox', { podSandboxId: id }),
    fixture.call('removePodSandbox', { podSandboxId: id }),
  ];
  while (!fixture.node.calls.some((call) => call.startsWith('stopSandbox'))) await new Promise(setImmediate);
  await list(fixture);
  assert.equal(fixture.node.calls.filter((call) => call.startsWith('stopSandbox')).length, 1);
  open();
  await Promise.all(both);
  assert.ok(fixture.node.clean);
});

test('a failed stop or removal can be tried again', async () => {
  await using fixture = await startFixture();
  const id = await run(fixture);
  for (const [method, rpc] of [
    ['stopSandbox', 'stopPodSandbox'],
    ['removeSandbox', 'removePodSandbox'],
  ] as const) {
    fixture.node.break(method, new HuskError('internal', 'no'));
    await assert.rejects(fixture.call(rpc, { podSandboxId: id }), { code: status.INTERNAL });
    fixture.node.mend(method);
    await fixture.call(rpc, { podSandboxId: id });
  }
  assert.ok(fixture.node.clean);
});

test('a pod that asks for the host is refused by name of the field where nothing runs natively', async () => {
  await using fixture = await startFixture();
  await assert.rejects(run(fixture, hostNetwork), {
    code: status.FAILED_PRECONDITION,
    details: /config\.linux\.security_context\.namespace_options\.network is NODE/,
  });
  await assert.rejects(run(fixture, podConfig(), 'native'), { code: status.FAILED_PRECONDITION });
  await assert.rejects(run(fixture, podConfig(), 'kata'), { code: status.INVALID_ARGUMENT, details: /"kata"/ });
  await assert.rejects(run(fixture, hostNetwork, 'vm'), { code: status.INVALID_ARGUMENT });
  assert.deepEqual(fixture.node.calls, []);
});

test('a pod that asks for the host runs natively where that is allowed', async () => {
  await using fixture = await startFixture({ native: true });
  const id = await run(fixture, hostNetwork);
  const { info } = await fixture.call<object, PodSandboxStatusResponse>('podSandboxStatus', {
    podSandboxId: id,
    verbose: true,
  });
  assert.equal(info['runtime'], '"native"');
});

test('under emulation a VM pod is refused unless it was allowed', async () => {
  await using fixture = await startFixture({ policy: { allowEmulation: false } });
  await assert.rejects(run(fixture), { code: status.FAILED_PRECONDITION, details: /--allow-emulation/ });
  assert.deepEqual(fixture.node.calls, []);
});

test('a lost pod is not ready, and says why', async () => {
  await using fixture = await startFixture();
  const id = await run(fixture);
  fixture.vm.lose(id, 'signal 9');
  const { status: pod, info } = await fixture.call<object, PodSandboxStatusResponse>('podSandboxStatus', {
    podSandboxId: id,
    verbose: true,
  });
  assert.equal(pod?.state, PodSandboxState.SANDBOX_NOTREADY);
  assert.equal(info['reason'], '"signal 9"');
  await fixture.call('removePodSandbox', { podSandboxId: id });
  assert.ok(fixture.node.clean);
});

test('a pod that is lost while it comes up does not become ready', async () => {
  await using fixture = await startFixture();
  const open = fixture.node.gate('runSandbox');
  const running = run(fixture);
  while (fixture.node.calls.length === 0) await new Promise(setImmediate);
  fixture.vm.events.onSandboxLost([...fixture.node.folders][0] ?? '', 'guest panic');
  open();
  await assert.rejects(running, { code: status.UNAVAILABLE, details: /guest panic/ });
  assert.ok(fixture.node.clean);
});
