/** Pods in real virtual machines, over CRI, as a kubelet would drive them. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { sleep } from '../../src/base/deadline.ts';
import {
  ContainerState,
  LinuxContainerResources,
  ListContainersRequest,
  ListPodSandboxRequest,
  PodSandboxState,
} from '../../src/gen/cri/v1/api.ts';
import type { Daemon } from '../helpers/daemon.ts';
import { type DaemonWithImage, startDaemonWithImage } from '../helpers/daemon-with-image.ts';
import { logContent, runPod, shell, startContainer } from '../helpers/pods.ts';

const image = 'docker.io/library/busybox:latest';
let daemon: Daemon;
let close: DaemonWithImage['close'] | undefined;

before(async () => {
  // As on a hardened host: the daemon must not hand on a mask that closes its files to its own helpers.
  const before = process.umask(0o077);
  try {
    ({ daemon, close } = await startDaemonWithImage());
  } finally {
    process.umask(before);
  }
});
after(async () => {
  await close?.();
});

const timed = async <T>(what: string, work: () => Promise<T>, say: (text: string) => void): Promise<T> => {
  const start = performance.now();
  const result = await work();
  say(`${what}: ${(performance.now() - start).toFixed(0)} ms`);
  return result;
};

async function remove(id: string): Promise<void> {
  await daemon.cri.stopPodSandbox({ podSandboxId: id });
  await daemon.cri.removePodSandbox({ podSandboxId: id });
}

async function exited(containerId: string): Promise<{ exitCode: number; reason: string; logPath: string }> {
  for (let tries = 0; tries < 600; tries += 1) {
    const { status } = await daemon.cri.containerStatus({ containerId, verbose: false });
    if (status?.state === ContainerState.CONTAINER_EXITED) return status;
    await sleep(50);
  }
  throw new Error(
    `container ${containerId} did not exit; the daemon's log ends with ${(await daemon.log()).slice(-2000)}`,
  );
}

test('a pod’s container runs in a VM: log, exit code and ExecSync come back', async (context) => {
  const say = (text: string): void => context.diagnostic(text);
  const pod = await timed('RunPodSandbox', () => runPod(daemon, { hostname: 'web-0' }), say);
  const { status, info } = await daemon.cri.podSandboxStatus({ podSandboxId: pod.id, verbose: true });
  assert.equal(status?.state, PodSandboxState.SANDBOX_READY);
  assert.match(status?.network?.ip ?? '', /^10\.2\d\d\./);
  say(`timeline ${info['timeline']}`);
  const line = 'hostname; id -u; echo oops >&2; while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 7';
  const containerId = await timed(
    'CreateContainer + StartContainer',
    () => startContainer(daemon, pod, shell(image, line)),
    say,
  );
  const { stdout, exitCode } = await timed(
    'ExecSync',
    () => daemon.cri.execSync({ containerId, cmd: ['cat', '/proc/sys/kernel/hostname'], timeout: 60n }),
    say,
  );
  assert.deepEqual([stdout.toString(), exitCode], ['web-0\n', 0]);
  await daemon.cri.execSync({ containerId, cmd: ['touch', '/tmp/go'], timeout: 60n });
  const end = await exited(containerId);
  assert.deepEqual([end.exitCode, end.reason], [7, 'Error']);
  const log = await readFile(end.logPath, 'utf8');
  assert.equal(logContent(log, 'stdout'), 'web-0\n0\n');
  assert.equal(logContent(log, 'stderr'), 'oops\n');
  await timed('Stop + Remove', () => remove(pod.id), say);
});

test('a command that runs too long is killed, and its exit is not an answer', async () => {
  const pod = await runPod(daemon);
  const containerId = await startContainer(daemon, pod, shell(image, 'sleep 600'));
  await assert.rejects(daemon.cri.execSync({ containerId, cmd: ['sleep', '500'], timeout: 1n }), { code: 4 });
  const { stdout } = await daemon.cri.execSync({ containerId, cmd: ['ps'], timeout: 60n });
  assert.doesNotMatch(stdout.toString(), /sleep 500/);
  await daemon.cri.stopContainer({ containerId, timeout: 0n });
  assert.equal((await exited(containerId)).exitCode, 137);
  await daemon.cri.removeContainer({ containerId });
  await remove(pod.id);
});

test('what a container wrote before its pod was stopped is in its log, to the last byte', async () => {
  const pod = await runPod(daemon);
  const line = 'printf over >&2; i=0; while :; do i=$((i+1)); echo $i; echo $i > /written; done';
  const config = shell(image, line);
  const containerId = await startContainer(daemon, pod, config);
  const wait = ['sh', '-c', 'sleep 1; n=; until [ -n "$n" ]; do n=$(cat /written); done; echo $n'];
  const { stdout } = await daemon.cri.execSync({ containerId, cmd: wait, timeout: 60n });
  await daemon.cri.stopPodSandbox({ podSandboxId: pod.id });
  const log = await readFile(join(pod.config.logDirectory, config.logPath), 'utf8');
  const lines = logContent(log, 'stdout').split('\n').slice(0, -1);
  const count = Number(stdout.toString());
  assert.ok(count > 100, `${count} lines`);
  assert.ok(lines.length >= count, `${lines.length} lines in the log, ${count} written before`);
  assert.deepEqual(
    lines,
    lines.map((_, index) => String(index + 1)),
  );
  // Without a line's end only the end of the output brings it out.
  assert.equal(logContent(log, 'stderr'), 'over\n');
  assert.equal((await exited(containerId)).exitCode, 137);
  await remove(pod.id);
});

test('what a pod uses is told, and limits can be changed while it runs', async () => {
  const pod = await runPod(daemon);
  try {
    const config = shell(image, 'dd if=/dev/zero of=/file bs=1M count=3 2>/dev/null; touch /written; sleep 600', {
      linux: { resources: { memoryLimitInBytes: 64n << 20n, cpuShares: 512n } },
    });
    const containerId = await startContainer(daemon, pod, config);
    const read = async (file: string): Promise<string> => {
      const cmd = ['cat', `/sys/fs/cgroup/${file}`];
      return (await daemon.cri.execSync({ containerId, cmd, timeout: 30n })).stdout.toString().trim();
    };
    assert.equal(await read('memory.max'), String(64 << 20));
    const written = ['sh', '-c', 'until [ -e /written ]; do sleep 0.1; done'];
    await daemon.cri.execSync({ containerId, cmd: written, timeout: 60n });
    const resources = (fields: object): Parameters<typeof daemon.cri.updateContainerResources>[0] => {
      const linux = LinuxContainerResources.fromPartial(fields);
      return { containerId, linux, windows: undefined, annotations: {} };
    };
    await daemon.cri.updateContainerResources(resources({ memoryLimitInBytes: 96n << 20n, cpuShares: 1024n }));
    assert.deepEqual([await read('memory.max'), await read('cpu.weight')], [String(96 << 20), '39']);
    // Below what is in use: refused, and what came before it in the same call is set back.
    const tooLow = daemon.cri.updateContainerResources(resources({ memoryLimitInBytes: 4096n, cpuShares: 2n }));
    await assert.rejects(tooLow, { code: status.FAILED_PRECONDITION, details: /memory.max to 4096/ });
    assert.equal(await read('cpu.weight'), '39');
    const { status: after } = await daemon.cri.containerStatus({ containerId, verbose: false });
    assert.equal(after?.resources?.linux?.memoryLimitInBytes, 96n << 20n);

    const { stats } = await daemon.cri.containerStats({ containerId });
    assert.ok((stats?.cpu?.usageCoreNanoSeconds?.value ?? 0n) > 0n);
    assert.ok((stats?.memory?.workingSetBytes?.value ?? 0n) > 0n);
    assert.ok((stats?.writableLayer?.usedBytes?.value ?? 0n) >= 3n << 20n, 'what it wrote counts');
    const { stats: ofPod } = await daemon.cri.podSandboxStats({ podSandboxId: pod.id });
    const inGuest = stats?.memory?.usageBytes?.value ?? 0n;
    assert.ok((ofPod?.linux?.memory?.usageBytes?.value ?? 0n) > inGuest, 'the virtual machine itself counts');
    assert.equal(ofPod?.linux?.network?.defaultInterface?.name, 'eth0');
    assert.ok((ofPod.linux.network.defaultInterface.txBytes?.value ?? 0n) > 0n);
    const { podMetrics } = await daemon.cri.listPodSandboxMetrics({});
    const metrics = podMetrics.find(({ podSandboxId }) => podSandboxId === pod.id);
    const told = new Set([
      ...(metrics?.metrics ?? []).map(({ name }) => name),
      ...(metrics?.containerMetrics[0]?.metrics ?? []).map(({ name }) => name),
    ]);
    const { descriptors } = await daemon.cri.listMetricDescriptors({});
    assert.deepEqual(
      descriptors.map(({ name }) => name).filter((name) => !told.has(name)),
      [],
    );
  } finally {
    await remove(pod.id);
  }
});

test('nothing is listed when all is removed', async () => {
  const { items } = await daemon.cri.listPodSandbox(ListPodSandboxRequest.fromPartial({}));
  const { containers } = await daemon.cri.listContainers(ListContainersRequest.fromPartial({}));
  assert.deepEqual([items, containers], [[], []]);
});

test('logs follow a rotation', async () => {
  const pod = await runPod(daemon);
  const config = shell(image, 'i=0; while [ $i -lt 40 ]; do echo $i; i=$((i+1)); sleep 0.1; done');
  const containerId = await startContainer(daemon, pod, config);
  const path = join(pod.config.logDirectory, config.logPath);
  const { rename } = await import('node:fs/promises');
  await sleep(1_000);
  await rename(path, `${path}.1`);
  await daemon.cri.reopenContainerLog({ containerId });
  await exited(containerId);
  const both = (await readFile(`${path}.1`, 'utf8')) + (await readFile(path, 'utf8'));
  assert.equal(logContent(both), `${Array.from({ length: 40 }, (_, index) => index).join('\n')}\n`);
  await remove(pod.id);
});
