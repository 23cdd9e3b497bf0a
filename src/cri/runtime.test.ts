import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import {
  CgroupDriver,
  type RuntimeConfigResponse,
  RuntimeServiceService,
  type StatusResponse,
  type VersionResponse,
} from '../gen/cri/v1/api.ts';
import { startFixture } from './fixture.ts';
import { runtimeConfig } from './runtime-config.ts';
import { unimplementedRuntimeRpcs } from './unimplemented.ts';

test('Version says all four things that clients require', async () => {
  await using fixture = await startFixture();
  const version = await fixture.call<object, VersionResponse>('version', { version: '' });
  assert.deepEqual(
    [version.version, version.runtimeName, version.runtimeVersion, version.runtimeApiVersion],
    ['0.1.0', 'husk', '0.1.0', 'v1'],
  );
});

test('Status tells of runtime, network, isolation and handlers', async () => {
  await using fixture = await startFixture();
  const answer = await fixture.call<object, StatusResponse>('status', { verbose: true });
  const conditions = new Map(answer.status?.conditions.map((condition) => [condition.type, condition]));
  assert.equal(conditions.get('RuntimeReady')?.status, true);
  assert.equal(conditions.get('NetworkReady')?.status, true);
  assert.equal(conditions.get('HardwareIsolation')?.status, false);
  assert.match(conditions.get('HardwareIsolation')?.message ?? '', /isolates nothing/);
  assert.deepEqual(
    answer.runtimeHandlers.map(({ name }) => name),
    ['', 'vm'],
  );
  assert.equal(JSON.parse(answer.info['hypervisor'] ?? '').accelerator, 'tcg');
  fixture.network.ready = false;
  const later = await fixture.call<object, StatusResponse>('status', { verbose: false });
  const network = later.status?.conditions.find(({ type }) => type === 'NetworkReady');
  assert.deepEqual([network?.status, network?.reason], [false, 'NoConfig']);
  assert.deepEqual(later.info, {});
});

test('Status under KVM promises isolation', async () => {
  await using fixture = await startFixture({ policy: { accelerator: 'kvm' } });
  const answer = await fixture.call<object, StatusResponse>('status', { verbose: false });
  assert.ok(answer.status?.conditions.every((condition) => condition.status));
});

test('RuntimeConfig says the cgroup driver, also the one that is zero on the wire', async () => {
  await using fixture = await startFixture();
  const answer = await fixture.call<object, RuntimeConfigResponse>('runtimeConfig', {});
  assert.equal(answer.linux?.cgroupDriver, CgroupDriver.CGROUPFS);
  const info = { cgroupDriver: 'systemd' } as Parameters<typeof runtimeConfig>[0]['info'];
  assert.deepEqual(runtimeConfig({ info }), { linux: { cgroupDriver: CgroupDriver.SYSTEMD } });
});

test('UpdateRuntimeConfig hands on pod CIDRs, and refuses what is none', async () => {
  await using fixture = await startFixture();
  const update = (podCidr: string): Promise<unknown> =>
    fixture.call('updateRuntimeConfig', { runtimeConfig: { networkConfig: { podCidr } } });
  await update('');
  await fixture.call('updateRuntimeConfig', { runtimeConfig: undefined });
  await update('10.88.0.0/16');
  await update('10.88.0.0/16,fd00::/64');
  assert.deepEqual(fixture.network.cidrs, ['10.88.0.0/16', '10.88.0.0/16,fd00::/64']);
  for (const bad of [
    'x',
    '10.88.0.0',
    '10.88.0.0/33',
    'fd00::/129',
    '10.0.0.0/8,10.1.0.0/16',
    '10.0.0.0/8\n',
    '../x/8',
  ]) {
    await assert.rejects(update(bad), { code: status.INVALID_ARGUMENT, details: /pod_cidr/ }, bad);
  }
});

test('every RPC that husk does not serve says so with its name', async () => {
  await using fixture = await startFixture();
  for (const rpc of unimplementedRuntimeRpcs) {
    const answer = fixture.call(rpc, emptyRequest(Reflect.get(RuntimeServiceService, rpc)));
    const name = rpc.charAt(0).toUpperCase() + rpc.slice(1);
    await assert.rejects(answer, { code: status.UNIMPLEMENTED, details: new RegExp(`"${name}"`) }, rpc);
  }
  assert.equal(unimplementedRuntimeRpcs.length, 1);
});

function emptyRequest(method: { requestDeserialize: (bytes: Buffer) => unknown }): object {
  return method.requestDeserialize(Buffer.alloc(0)) as object;
}
