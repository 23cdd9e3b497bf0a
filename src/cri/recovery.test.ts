import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HuskError } from '../base/errors.ts';
import { ImageSpec } from '../gen/cri/v1/api.ts';
import { containerState } from '../pod/container-state.ts';
import { containerConfig, type Fixture, podConfig, startFixture } from './fixture.ts';

const never = new AbortController().signal;
const all = { id: '', sandboxId: '', state: undefined, labels: {} };

async function podWithContainer(fixture: Fixture): Promise<{ pod: string; container: string }> {
  await fixture.call('pullImage', { image: ImageSpec.create({ image: 'busybox:1' }) });
  const pod = await fixture.engine.sandboxes.run(podConfig(), '', never);
  const container = await fixture.engine.containers.create(pod, containerConfig(), never);
  await fixture.engine.containers.start(container, never);
  return { pod, container };
}

test('a live pod is taken up again, with its containers and their image holds', async () => {
  await using fixture = await startFixture();
  const { pod, container } = await podWithContainer(fixture);
  fixture.images.holds.clear();
  const next = fixture.restart();
  await next.recover();
  assert.equal(next.sandboxes.get(pod).status.phase, 'ready');
  assert.equal(containerState(next.containers.get(container).status), 'running');
  assert.deepEqual([...fixture.images.holds.keys()], [container]);
  await assert.rejects(next.sandboxes.run(podConfig(), '', never), /has it/);
});

test('a pod that died meanwhile is not ready, and its containers have ended', async () => {
  await using fixture = await startFixture();
  const { pod, container } = await podWithContainer(fixture);
  fixture.node.pods.clear();
  const next = fixture.restart();
  await next.recover();
  const { status } = next.sandboxes.get(pod);
  assert.deepEqual([status.phase, status.reason], ['not-ready', 'the pod was gone when the daemon started']);
  const ended = next.containers.get(container).status;
  assert.deepEqual([containerState(ended), ended.exitCode], ['exited', 137]);
  await next.sandboxes.remove(pod);
  assert.ok(fixture.node.clean);
});

test('a pod that cannot be taken up is stopped, and does not keep others from it', async () => {
  await using fixture = await startFixture();
  const { pod } = await podWithContainer(fixture);
  fixture.node.break('recover', new HuskError('unavailable', 'no answer'));
  const next = fixture.restart();
  await next.recover();
  assert.match(next.sandboxes.get(pod).status.reason, /could not be taken up again: no answer/);
  assert.equal(fixture.node.pods.size, 0);
});

test('a half-made pod is swept, and its name is free', async () => {
  await using fixture = await startFixture();
  const open = fixture.node.gate('runSandbox');
  const abandoned = fixture.engine.sandboxes.run(podConfig(), '', never);
  while (fixture.node.calls.length === 0) await new Promise(setImmediate);
  const next = fixture.restart();
  await next.recover();
  assert.ok(fixture.node.clean);
  assert.deepEqual(next.sandboxes.list(all), []);
  open();
  await abandoned.catch(() => undefined);
  await next.sandboxes.run(podConfig(), '', never);
});

test('a removal that was cut off is finished', async () => {
  await using fixture = await startFixture();
  const { pod } = await podWithContainer(fixture);
  fixture.node.break('removeSandbox', new HuskError('internal', 'no'));
  await assert.rejects(fixture.engine.sandboxes.remove(pod));
  fixture.node.mend('removeSandbox');
  const next = fixture.restart();
  await next.recover();
  assert.deepEqual([next.sandboxes.list(all), next.containers.list(all)], [[], []]);
  assert.ok(fixture.node.clean);
  assert.equal(fixture.images.holds.size, 0);
});

test('a half-made container is taken away, the pod lives on', async () => {
  await using fixture = await startFixture();
  const { pod, container } = await podWithContainer(fixture);
  fixture.node.break('createContainer', new HuskError('internal', 'no'));
  fixture.node.break('removeContainer', new HuskError('internal', 'no'));
  const second = containerConfig({ metadata: { name: 'b', attempt: 0 } });
  await assert.rejects(fixture.engine.containers.create(pod, second, never));
  fixture.node.mend('createContainer');
  fixture.node.mend('removeContainer');
  const next = fixture.restart();
  await next.recover();
  assert.deepEqual([...fixture.images.holds.keys()], [container]);
  await next.containers.create(pod, second, never);
});
