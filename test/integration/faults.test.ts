/** Faults at each step, and the daemon's death at each step: nothing is left, and a retry works. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { sleep } from '../../src/base/deadline.ts';
import { ContainerState, CreateContainerRequest, ListPodSandboxRequest } from '../../src/gen/cri/v1/api.ts';
import type { Daemon } from '../helpers/daemon.ts';
import { type DaemonWithImage, startDaemonWithImage } from '../helpers/daemon-with-image.ts';
import { assertHoldings, holdingsOf } from '../helpers/holdings.ts';
import { logContent, runPod, shell, startContainer } from '../helpers/pods.ts';

const image = 'docker.io/library/busybox:latest';
let daemon: Daemon;
let close: DaemonWithImage['close'] | undefined;
let clean: string[];

before(async () => {
  ({ daemon, close } = await startDaemonWithImage());
  const pod = await runPod(daemon);
  await removePod(pod.id);
  clean = await holdingsOf(daemon);
});
after(async () => {
  await close?.();
});

async function removePod(podSandboxId: string): Promise<void> {
  await daemon.cri.stopPodSandbox({ podSandboxId });
  await daemon.cri.removePodSandbox({ podSandboxId });
}

const runPlaces = ['run.prepare', 'run.netns', 'run.network', 'run.vm', 'run.tap', 'run.identity'];
const createPlaces = ['create.log', 'create.layers', 'create.container'];

for (const place of runPlaces) {
  test(`a fault after ${place} fails RunPodSandbox with its stage and leaves nothing`, async () => {
    await daemon.kill();
    await daemon.restart({ HUSK_FAILPOINTS: `${place}=error*1` });
    await assert.rejects(runPod(daemon), { message: new RegExp(`stage ${place.split('.')[1]}: failpoint`) });
    await assertHoldings(daemon, clean);
    const retry = await runPod(daemon);
    await removePod(retry.id);
    await assertHoldings(daemon, clean);
  });
}

test('a fault at each step of CreateContainer leaves nothing, and a retry works', async () => {
  for (const place of createPlaces) {
    await daemon.kill();
    await daemon.restart({ HUSK_FAILPOINTS: `${place}=error*1` });
    const pod = await runPod(daemon);
    const request = CreateContainerRequest.fromPartial({
      podSandboxId: pod.id,
      config: shell(image, 'true'),
      sandboxConfig: pod.config,
    } as object);
    await assert.rejects(daemon.cri.createContainer(request), { message: new RegExp(`failpoint "${place}"`) });
    await daemon.cri.createContainer(request);
    await removePod(pod.id);
    await assertHoldings(daemon, clean);
  }
});

for (const place of [...runPlaces, ...createPlaces]) {
  test(`the daemon killed after ${place} starts again, and nothing is left when its pods are removed`, async () => {
    await daemon.kill();
    await daemon.restart({ HUSK_FAILPOINTS: `${place}=kill` });
    const attempt = runPod(daemon).then((pod) => startContainer(daemon, pod, shell(image, 'true')));
    await assert.rejects(attempt, { code: 14 });
    await daemon.restart();
    const { items } = await daemon.cri.listPodSandbox(ListPodSandboxRequest.fromPartial({}));
    for (const { id } of items) await removePod(id);
    await assertHoldings(daemon, clean);
  });
}

test('containers go on while the daemon is dead: no line is lost or doubled, exit codes are right', async () => {
  const pod = await runPod(daemon);
  const lines = 300;
  const count = shell(image, `i=0; while [ $i -lt ${lines} ]; do echo line $i; i=$((i+1)); sleep 0.02; done; exit 3`);
  const containerId = await startContainer(daemon, pod, count);
  for (let round = 0; round < 3; round += 1) {
    await sleep(500);
    await daemon.kill();
    await daemon.restart();
  }
  for (let tries = 0; tries < 600; tries += 1) {
    const { status } = await daemon.cri.containerStatus({ containerId, verbose: false });
    if (status?.state === ContainerState.CONTAINER_EXITED) break;
    await sleep(100);
  }
  const { status } = await daemon.cri.containerStatus({ containerId, verbose: false });
  assert.equal(status?.exitCode, 3);
  const text = await readFile(status?.logPath ?? '', 'utf8');
  const expected = Array.from({ length: lines }, (_, index) => `line ${index}\n`).join('');
  assert.equal(logContent(text), expected);
  await removePod(pod.id);
  await assertHoldings(daemon, clean);
});
