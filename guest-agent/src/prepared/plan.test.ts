import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ContainerConfig } from '../../../src/gen/cri/v1/api.ts';
import { completeSpec } from '../../../src/oci/complete-spec.ts';
import type { OciResources, OciSpec } from '../../../src/oci/runtime-spec.ts';
import { buildSpec } from '../../../src/oci/spec.ts';
import { cgroupLimits } from './cgroup-limits.ts';
import { planFor } from './plan.ts';

const image = { env: [], workingDir: '', entrypoint: [], cmd: [] };
const user = { uid: 0, gid: 0, supplementalGroups: [0], home: '/' };
const places = { hostnameFile: '/run/h', resolvConfFile: '', shmFolder: '/run/shm', files: [], rootfs: '/run/root' };

function specOf(linux: object): OciSpec {
  const fields = { metadata: { name: 'c', attempt: 0 }, command: ['sleep'], linux };
  const config = ContainerConfig.fromPartial(fields as object);
  return completeSpec(buildSpec({ containerId: 'a1', config, image, hostname: 'h' }), { user, ...places });
}

test('the plain container of a pod can be prepared: binds, limits and filter are left to do', () => {
  const plan = planFor(specOf({ securityContext: { seccomp: { profileType: 0 } }, resources: { cpuShares: 2n } }));
  assert.deepEqual(plan?.binds, [
    { source: '/run/shm', target: '/dev/shm', flags: 'nosuid,nodev,noexec' },
    { source: '/run/h', target: '/etc/hostname', flags: 'nosuid,nodev,noexec' },
  ]);
  assert.deepEqual(plan.limits, [['cpu.weight', '1']]);
  assert.equal(plan.readonlyRoot, false);
  assert.match(plan.filterKey ?? '', /SCMP_ACT_ERRNO/);
});

test('a recursively read-only volume is bound read-only: the guest has nothing mounted below it', () => {
  const spec = specOf({});
  spec.mounts.push({ type: 'bind', source: '/v', destination: '/mnt', options: ['rbind', 'rprivate', 'ro', 'rro'] });
  assert.deepEqual(planFor(spec)?.binds.at(-1), { source: '/v', target: '/mnt', flags: 'rec,ro,ro' });
});

test('what a prepared container does not have is left to the runtime', () => {
  const changes: readonly ((spec: OciSpec) => void)[] = [
    (spec) => spec.linux.namespaces.push({ type: 'ipc' }),
    (spec) => spec.linux.maskedPaths.pop(),
    (spec) => spec.linux.readonlyPaths.push('/proc/x'),
    (spec) => (spec.linux.rootfsPropagation = 'shared'),
    (spec) => (spec.linux.sysctl = { a: '1' }),
    (spec) => (spec.process.terminal = true),
    (spec) => (spec.process.apparmorProfile = 'x'),
    (spec) => (spec.linux.resources.devices = [{ allow: true, access: 'rwm' }]),
    (spec) => spec.mounts.reverse(),
    (spec) => spec.mounts.push({ type: 'tmpfs', source: 't', destination: '/t', options: [] }),
    (spec) => spec.mounts.push({ type: 'bind', source: '/s', destination: '/proc/x', options: ['bind'] }),
    (spec) => spec.mounts.push({ type: 'bind', source: '/s', destination: '/a/../b', options: ['bind'] }),
    (spec) => spec.mounts.push({ type: 'bind', source: '/s', destination: '/a', options: ['bind', 'rshared'] }),
  ];
  for (const change of changes) {
    const spec = specOf({});
    change(spec);
    assert.equal(planFor(spec), undefined, change.toString());
  }
  assert.equal(planFor(specOf({ securityContext: { privileged: true } })), undefined);
});

const limits = (resources: Partial<OciResources>): object =>
  Object.fromEntries(cgroupLimits({ devices: [], ...resources }));

test('limits are written as runC converts them', () => {
  assert.deepEqual(limits({}), {});
  assert.deepEqual(limits({ memory: { limit: 1000 } }), { 'memory.max': '1000' });
  assert.deepEqual(limits({ memory: { limit: 1000, swap: 1500 } }), { 'memory.max': '1000', 'memory.swap.max': '500' });
  assert.deepEqual(limits({ memory: { limit: 1000, swap: 1000 } }), { 'memory.max': '1000', 'memory.swap.max': '0' });
  assert.deepEqual(limits({ cpu: { shares: 1024, quota: 50_000, period: 200_000 } }), {
    'cpu.weight': '39',
    'cpu.max': '50000 200000',
  });
  assert.deepEqual(limits({ cpu: { shares: 262_144, quota: -1 } }), { 'cpu.weight': '10000', 'cpu.max': 'max 100000' });
  assert.deepEqual(limits({ pids: { limit: 10 }, unified: { 'memory.high': '5' } }), {
    'pids.max': '10',
    'memory.high': '5',
  });
});
