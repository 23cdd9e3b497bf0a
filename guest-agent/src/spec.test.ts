import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ContainerConfig } from '../../src/gen/cri/v1/api.ts';
import { completeSpec, execProcess, pushedPath, type SpecCompletion } from '../../src/oci/complete-spec.ts';
import type { OciSpec } from '../../src/oci/runtime-spec.ts';
import { buildSpec } from '../../src/oci/spec.ts';
import { parseSpec } from './spec.ts';

const hostSpec = (): OciSpec =>
  buildSpec({
    containerId: 'a',
    config: ContainerConfig.fromPartial({ command: ['/x'], linux: { securityContext: {} } }),
    hostname: 'pod',
    image: { env: [], workingDir: '', entrypoint: [], cmd: [] },
  });
const completion = (change: Partial<SpecCompletion> = {}): SpecCompletion => ({
  user: { uid: 5, gid: 6, supplementalGroups: [6, 7], home: '/home/five' },
  rootfs: '/r/rootfs',
  hostnameFile: '/e/hostname',
  resolvConfFile: '',
  shmFolder: '/r/shm',
  files: [],
  mounts: [],
  ...change,
});
const bytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const added = (spec: OciSpec): string[] =>
  spec.mounts
    .slice(hostSpec().mounts.length)
    .map(({ source, destination, options }) => `${source} ${destination} ${options.join(',')}`);

test('the guest fills user, root, home and the mounts of the pod, and nothing else', () => {
  const spec = hostSpec();
  const done = completeSpec(parseSpec(bytes(spec)), completion());
  assert.deepEqual(done.process.user, { uid: 5, gid: 6, additionalGids: [6, 7] });
  assert.equal(done.root.path, '/r/rootfs');
  assert.equal(done.process.env.at(-1), 'HOME=/home/five');
  assert.equal(done.process.oomScoreAdj, 0);
  assert.deepEqual(added(done), [
    '/r/shm /dev/shm bind,rprivate,nosuid,nodev,noexec',
    '/e/hostname /etc/hostname bind,rprivate,nosuid,nodev,noexec',
  ]);
  assert.deepEqual(done.linux, spec.linux);
});

test('a mount of the host wins over one of the pod, and a pushed file over both', () => {
  const spec = hostSpec();
  spec.mounts.push({ destination: '/dev/shm/', type: 'tmpfs', source: 'tmpfs', options: [] });
  spec.root.readonly = true;
  const file = { path: '/etc/hostname', content: Buffer.alloc(0), mode: 0o644, readonly: true };
  const done = completeSpec(
    spec,
    completion({ resolvConfFile: '/e/resolv.conf', files: [{ source: '/b/files/0', file }] }),
  );
  assert.deepEqual(added(done).slice(1), [
    '/e/resolv.conf /etc/resolv.conf bind,rprivate,nosuid,nodev,noexec,ro',
    '/b/files/0 /etc/hostname bind,rprivate,nosuid,nodev,ro',
  ]);
});

test('a container with IPC of its own has shared memory of its own', () => {
  const spec = hostSpec();
  spec.linux.namespaces.push({ type: 'ipc' });
  assert.match(added(completeSpec(spec, completion()))[0] ?? '', /^shm \/dev\/shm .*size=65536k$/);
});

test('a spec that the agent cannot rely on is refused', () => {
  const spec = hostSpec();
  assert.throws(() => parseSpec(Buffer.from('{')), { kind: 'invalid-argument' });
  for (const bad of [null, 1, {}, { ...spec, mounts: undefined }, { ...spec, process: { args: [] } }]) {
    assert.throws(() => parseSpec(bytes(bad)), { kind: 'invalid-argument' }, JSON.stringify(bad)?.slice(0, 40));
  }
  for (const cgroupsPath of ['', '/', 'a', '/a/../b', '/a//b', '/a/']) {
    assert.throws(
      () => parseSpec(bytes({ ...spec, linux: { ...spec.linux, cgroupsPath } })),
      { kind: 'invalid-argument' },
      cgroupsPath,
    );
  }
});

test('a pushed file goes to a plain path outside the kernel file systems', () => {
  assert.equal(pushedPath('/etc/hosts'), '/etc/hosts');
  for (const path of ['', '/', 'etc', '/etc/', '/a/../b', '/proc/x', '/sys', '//a'])
    assert.throws(() => pushedPath(path), path);
});

test('an exec runs as the container does, with its own command and no terminal', () => {
  const spec = completeSpec(hostSpec(), completion());
  const process = execProcess(spec, ['ls', '-l']);
  assert.deepEqual(process, { ...spec.process, args: ['ls', '-l'], terminal: false });
});
