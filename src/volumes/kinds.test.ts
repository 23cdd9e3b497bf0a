import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKind } from '../base/errors.ts';
import { Mount, MountPropagation } from '../gen/cri/v1/api.ts';
import { checkPropagation, type HostFacts, isOwnEmptyDir, maxPushedFileBytes, volumeKind } from './kinds.ts';

const pod = '/var/lib/kubelet/pods/0d1c/volumes';
const folder = (more: Partial<HostFacts> = {}): HostFacts => ({
  path: '/real',
  type: 'folder',
  mode: 0o777,
  uid: 0,
  gid: 0,
  sizeBytes: 4096,
  ...more,
});
const file = (more: Partial<HostFacts> = {}): HostFacts => folder({ type: 'file', sizeBytes: 10, ...more });

const table: readonly (readonly [what: string, hostPath: string, readonly: boolean, facts: HostFacts, kind: string])[] =
  [
    ['configMap', `${pod}/kubernetes.io~configmap/c`, true, folder(), 'tree'],
    ['secret', `${pod}/kubernetes.io~secret/s`, true, folder({ tmpfsBytes: 1 }), 'tree'],
    ['projected', `${pod}/kubernetes.io~projected/kube-api-access-x`, true, folder(), 'tree'],
    ['downward API', `${pod}/kubernetes.io~downward-api/d`, true, folder(), 'tree'],
    ['a secret that may be written', `${pod}/kubernetes.io~secret/s`, false, folder(), 'share'],
    ['emptyDir', `${pod}/kubernetes.io~empty-dir/e`, false, folder(), 'share'],
    ['emptyDir, read-only', `${pod}/kubernetes.io~empty-dir/e`, true, folder(), 'share'],
    ['emptyDir in memory', `${pod}/kubernetes.io~empty-dir/e`, false, folder({ tmpfsBytes: 1024 }), 'memory'],
    ['a folder below a configMap', `${pod}/kubernetes.io~configmap/c/sub`, true, folder(), 'share'],
    ['CSI volume', `${pod}/kubernetes.io~csi/pvc/mount`, false, folder(), 'share'],
    ['hostPath folder', '/srv/data', false, folder(), 'share'],
    ['hostPath folder, read-only', '/srv/data', true, folder(), 'share'],
    ['/etc/hosts', '/var/lib/kubelet/pods/0d1c/etc-hosts', false, file(), 'tree'],
    ['termination log', '/var/lib/kubelet/pods/0d1c/containers/web/9a8b', false, file(), 'share'],
    ['small file, read-only', '/etc/localtime', true, file(), 'tree'],
    ['small file, written', '/etc/localtime', false, file(), 'share'],
    ['file at the cap', '/srv/f', true, file({ sizeBytes: maxPushedFileBytes }), 'tree'],
    ['file beyond the cap', '/srv/f', true, file({ sizeBytes: maxPushedFileBytes + 1 }), 'share'],
    ['sub-path of a volume', '/var/lib/kubelet/pods/0d1c/volume-subpaths/v/c/0', true, folder(), 'share'],
    ['block device', '/dev/sdb', false, folder({ type: 'block' }), 'block'],
  ];

for (const [what, hostPath, readonly, facts, kind] of table) {
  test(`kind of a volume: ${what} is a ${kind}`, () => {
    assert.equal(volumeKind({ hostPath, readonly }, facts).kind, kind);
  });
}

for (const type of ['socket', 'fifo', 'character'] as const) {
  test(`a ${type} of the host is refused by name`, () => {
    assert.throws(
      () => volumeKind({ hostPath: '/run/x', readonly: false }, folder({ type })),
      (caught) => isKind(caught, 'invalid-argument') && String(caught).includes('"/run/x"'),
    );
  });
}

test('mounts of a container cannot come back to the host', () => {
  const mount = (propagation: MountPropagation): Mount => Mount.fromPartial({ containerPath: '/x', propagation });
  checkPropagation(mount(MountPropagation.PROPAGATION_HOST_TO_CONTAINER));
  assert.throws(() => checkPropagation(mount(MountPropagation.PROPAGATION_BIDIRECTIONAL)), /BIDIRECTIONAL/);
});

test('an emptyDir is a pod’s own by the kubelet’s path alone', () => {
  const path = '/var/lib/kubelet/pods/u1/volumes/kubernetes.io~empty-dir/v';
  assert.equal(isOwnEmptyDir(path, 'u1'), true);
  assert.equal(isOwnEmptyDir(path, 'u2'), false);
  assert.equal(isOwnEmptyDir(`${path}/below`, 'u1'), false);
  assert.equal(isOwnEmptyDir('/var/lib/kubelet/pods/u1/volumes/kubernetes.io~nfs/v', 'u1'), false);
  assert.equal(isOwnEmptyDir('/srv/data', ''), false);
});
