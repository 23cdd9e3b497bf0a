import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ContainerConfig } from '../gen/cri/v1/api.ts';
import { allCapabilities } from './capabilities.ts';
import { buildSpec } from './spec.ts';
import { userRequest } from './user.ts';

const image = { env: ['A=image'], workingDir: '/srv', entrypoint: ['/run'], cmd: ['x'] };
const build = (config: object) =>
  buildSpec({ containerId: 'c1', config: ContainerConfig.fromPartial(config), image, hostname: 'web-0' });

test('a plain container gets the defaults, its own PID namespace, and the pod’s network', () => {
  const spec = build({});
  assert.deepEqual(spec.process.args, ['/run', 'x']);
  assert.equal(spec.process.cwd, '/srv');
  assert.ok(spec.process.env.includes('HOSTNAME=web-0'));
  assert.deepEqual(
    spec.linux.namespaces.map(({ type }) => type),
    ['mount', 'cgroup', 'pid'],
  );
  assert.equal(spec.linux.cgroupsPath, '/pod/c1');
  assert.equal(spec.linux.seccomp, undefined);
  assert.ok(spec.linux.maskedPaths.includes('/proc/kcore'));
  assert.deepEqual(spec.linux.resources.devices, [{ allow: false, access: 'rwm' }]);
});

test('a privileged container has every capability, no filter and no hidden path', () => {
  const spec = build({ linux: { securityContext: { privileged: true, seccomp: { profileType: 0 } } } });
  assert.deepEqual(spec.process.capabilities.effective, allCapabilities);
  assert.equal(spec.linux.seccomp, undefined);
  assert.deepEqual(spec.linux.maskedPaths, []);
  assert.ok(spec.mounts.find(({ destination }) => destination === '/sys')?.options.includes('rw'));
});

test('RuntimeDefault brings our profile, Unconfined none', () => {
  assert.equal(
    build({ linux: { securityContext: { seccomp: { profileType: 0 } } } }).linux.seccomp?.defaultAction,
    'SCMP_ACT_ERRNO',
  );
  assert.equal(build({ linux: { securityContext: { seccomp: { profileType: 1 } } } }).linux.seccomp, undefined);
});

test('limits reach the spec only when they are set', () => {
  const spec = build({
    linux: { resources: { memoryLimitInBytes: 1n << 26n, cpuQuota: 50_000n, cpuPeriod: 100_000n, oomScoreAdj: -998n } },
  });
  assert.deepEqual(spec.linux.resources.memory, { limit: 67_108_864 });
  assert.deepEqual(spec.linux.resources.cpu, { quota: 50_000, period: 100_000 });
  assert.equal(spec.process.oomScoreAdj, -998);
  assert.throws(() => build({ linux: { resources: { memoryLimitInBytes: -1n } } }), {
    kind: 'invalid-argument',
    message: /memory_limit/,
  });
});

test('an environment value that is not text is refused by name', () => {
  assert.throws(() => build({ envs: [{ key: 'BAD', value: Buffer.from([0xff, 0xfe]) }] }), {
    kind: 'invalid-argument',
    message: /"BAD"/,
  });
});

const security = (fields: object) =>
  ContainerConfig.fromPartial({ linux: { securityContext: fields } }).linux?.securityContext;

for (const [words, fields, expected] of [
  ['the image decides when the pod says nothing', {}, 'www-data:7'],
  ['a uid replaces it', { runAsUser: { value: 5n } }, '5'],
  ['a uid and gid replace it', { runAsUser: { value: 5n }, runAsGroup: { value: 6n } }, '5:6'],
  ['a name replaces it', { runAsUsername: 'nobody' }, 'nobody'],
] as const) {
  test(`user: ${words}`, () => assert.equal(userRequest(security(fields), 'www-data:7').user, expected));
}

for (const value of [-1n, 4_294_967_295n, 4_294_967_296n, 2n ** 63n - 1n]) {
  test(`user: the uid ${value} is refused`, () => {
    assert.throws(() => userRequest(security({ runAsUser: { value } }), ''), {
      kind: 'invalid-argument',
      message: /run_as_user/,
    });
  });
}

test('user: a group without a user is refused', () => {
  assert.throws(() => userRequest(security({ runAsGroup: { value: 1n } }), ''), {
    kind: 'invalid-argument',
    message: /needs run_as_user/,
  });
});
