import assert from 'node:assert/strict';
import { test } from 'node:test';
import { containerCgroup } from './trees.ts';

const sandboxId = 'f'.repeat(64);

test('under cgroupfs a container lies in the cgroup of its pod', () => {
  const { oci, path } = containerCgroup('cgroupfs', { parent: '/kubepods/burstable/pod1', sandboxId }, 'c1');
  assert.equal(path, 'kubepods/burstable/pod1/husk-ffffffffffff/c1');
  assert.equal(oci, `/${path}`);
  assert.equal(containerCgroup('cgroupfs', { parent: '', sandboxId }, 'c1').path, 'husk/husk-ffffffffffff/c1');
});

test('under systemd a container is a scope in the slice of its pod', () => {
  const place = { parent: '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice', sandboxId };
  assert.deepEqual(containerCgroup('systemd', place, 'c1'), {
    oci: 'kubepods-burstable-pod1.slice:husk:c1',
    path: 'kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/husk-c1.scope',
  });
  assert.equal(containerCgroup('systemd', { parent: '', sandboxId }, 'c1').oci, 'system.slice:husk:c1');
  assert.throws(() => containerCgroup('systemd', { parent: '/kubepods', sandboxId }, 'c1'), {
    kind: 'invalid-argument',
    message: /config\.linux\.cgroup_parent "\/kubepods"/,
  });
});
