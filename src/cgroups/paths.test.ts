import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expandSlice, podCgroup } from './paths.ts';

const id = 'ab'.repeat(32);

test('a pod without a parent lies below the daemon’s own', () => {
  assert.equal(podCgroup('', id), 'husk/husk-abababababab');
  assert.equal(podCgroup('', id, 'husk-0a1b2c'), 'husk-0a1b2c/husk-abababababab');
});

test('a cgroupfs parent is taken as it is', () => {
  assert.equal(podCgroup('/kubepods/burstable/pod1', id), 'kubepods/burstable/pod1/husk-abababababab');
});

test('a slice opens a level at every dash', () => {
  assert.equal(
    expandSlice('kubepods-burstable-pod1.slice'),
    'kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice',
  );
  assert.equal(podCgroup('test.slice', id), 'test.slice/husk-abababababab');
});

for (const parent of ['../x', 'a/../../x', '/a/./b', 'a//b', '-.slice']) {
  test(`the parent "${parent}" is refused`, () =>
    assert.throws(() => podCgroup(parent, id), { kind: 'invalid-argument' }));
}
