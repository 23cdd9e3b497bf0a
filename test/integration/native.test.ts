/** Native pods with real runC and conmon, over CRI, as a kubelet would drive them. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { after, before, test } from 'node:test';
import { sleep } from '../../src/base/deadline.ts';
import { ContainerState, PodSandboxState, PullImageRequest } from '../../src/gen/cri/v1/api.ts';
import { busyboxImage } from '../fixtures/oci-image.ts';
import { pushImage, startRegistry, type TestRegistry } from '../fixtures/registry.ts';
import { assertCensus, type Census, takeCensus } from '../helpers/census.ts';
import { type Daemon, startDaemon } from '../helpers/daemon.ts';
import { logContent, podConfig, shell, startContainer } from '../helpers/pods.ts';

const image = 'docker.io/library/busybox:latest';
/** What other tests on this machine do not touch. */
const census = { kinds: ['mounts', 'loop devices'] };
let registry: TestRegistry;
let daemon: Daemon;
let clean: Census;

before(async () => {
  registry = await startRegistry();
  await pushImage(registry, 'library/busybox:latest', busyboxImage());
  const flags = ['--template=false', '--accel=tcg'];
  daemon = await startDaemon({ mirror: { to: registry.host, of: ['docker.io'] }, flags });
  await daemon.cri.pullImage(PullImageRequest.fromPartial({ image: { image } }));
  clean = await takeCensus(census);
});
after(async () => {
  await daemon?.stop();
  await registry?.stop();
});

async function runNative(security: object = {}, fields: object = {}) {
  const config = podConfig(
    { linux: { securityContext: { namespaceOptions: { pid: 1 }, ...security } }, ...fields },
    `${daemon.folder}/logs/n`,
  );
  const { podSandboxId } = await daemon.cri.runPodSandbox({ config, runtimeHandler: 'native' });
  return { id: podSandboxId, config };
}

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

test('a native pod’s container runs on the host’s kernel: log, exit code and ExecSync come back', async (context) => {
  const start = performance.now();
  const pod = await runNative({}, { hostname: 'web-0' });
  context.diagnostic(`RunPodSandbox: ${(performance.now() - start).toFixed(0)} ms`);
  const { status, info } = await daemon.cri.podSandboxStatus({ podSandboxId: pod.id, verbose: true });
  assert.equal(status?.state, PodSandboxState.SANDBOX_READY);
  assert.match(status?.network?.ip ?? '', /^10\.211\./);
  context.diagnostic(`timeline ${info['timeline']}`);
  const line = 'hostname; id -u; echo oops >&2; while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 7';
  const mid = performance.now();
  const containerId = await startContainer(daemon, pod, shell(image, line));
  context.diagnostic(`CreateContainer + StartContainer: ${(performance.now() - mid).toFixed(0)} ms`);
  const { stdout, exitCode } = await daemon.cri.execSync({ containerId, cmd: ['cat', '/proc/version'], timeout: 60n });
  assert.deepEqual([stdout.toString(), exitCode], [await readFile('/proc/version', 'utf8'), 0]);
  await daemon.cri.execSync({ containerId, cmd: ['touch', '/tmp/go'], timeout: 60n });
  const end = await exited(containerId);
  assert.deepEqual([end.exitCode, end.reason], [7, 'Error']);
  const log = await readFile(end.logPath, 'utf8');
  assert.equal(logContent(log, 'stdout'), 'web-0\n0\n');
  assert.equal(logContent(log, 'stderr'), 'oops\n');
  await remove(pod.id);
  await assertCensus(clean, census);
});

test('a pod that wants the host’s network is run natively and has the host’s name', async () => {
  const config = podConfig(
    { linux: { securityContext: { namespaceOptions: { network: 2, pid: 1 } } } },
    `${daemon.folder}/logs/h`,
  );
  const { podSandboxId } = await daemon.cri.runPodSandbox({ config, runtimeHandler: '' });
  const pod = { id: podSandboxId, config };
  const containerId = await startContainer(daemon, pod, shell(image, 'hostname; readlink /proc/self/ns/net'));
  const log = await readFile((await exited(containerId)).logPath, 'utf8');
  const { readlink } = await import('node:fs/promises');
  assert.equal(logContent(log), `${hostname()}\n${await readlink('/proc/self/ns/net')}\n`);
  await remove(pod.id);
  await assertCensus(clean, census);
});

test('a command that runs too long is killed with all it started', async () => {
  const pod = await runNative();
  const containerId = await startContainer(daemon, pod, shell(image, 'sleep 600'));
  const cmd = ['sh', '-c', 'setsid sleep 500 & sleep 501'];
  await assert.rejects(daemon.cri.execSync({ containerId, cmd, timeout: 1n }), { code: 4 });
  const { stdout } = await daemon.cri.execSync({ containerId, cmd: ['ps'], timeout: 60n });
  assert.doesNotMatch(stdout.toString(), /sleep 50[01]/);
  await daemon.cri.stopContainer({ containerId, timeout: 0n });
  assert.equal((await exited(containerId)).exitCode, 137);
  await daemon.cri.removeContainer({ containerId });
  await remove(pod.id);
  await assertCensus(clean, census);
});

test('containers of a pod share its PID namespace when they ask for it', async () => {
  const shared = { namespaceOptions: { pid: 0 } };
  const pod = await runNative(shared);
  const linux = { linux: { securityContext: shared } };
  const first = await startContainer(daemon, pod, shell(image, 'sleep 777', linux));
  const second = await startContainer(daemon, pod, shell(image, 'sleep 1000', linux));
  const { stdout } = await daemon.cri.execSync({ containerId: second, cmd: ['ps'], timeout: 60n });
  assert.match(stdout.toString(), /sleep 777/);
  assert.match(stdout.toString(), /1 65535\s+\/init/);
  await daemon.cri.stopContainer({ containerId: first, timeout: 0n });
  assert.equal((await exited(first)).exitCode, 137);
  await remove(pod.id);
  await assertCensus(clean, census);
});

test('containers go on while the daemon is dead: no line is lost or doubled, exit codes are right', async () => {
  const pod = await runNative();
  const lines = 200;
  const count = shell(image, `i=0; while [ $i -lt ${lines} ]; do echo line $i; i=$((i+1)); sleep 0.02; done; exit 3`);
  const containerId = await startContainer(daemon, pod, count);
  const short = await startContainer(daemon, pod, shell(image, 'sleep 1; exit 4'));
  await daemon.kill();
  await sleep(1_500);
  await daemon.restart();
  assert.equal((await exited(short)).exitCode, 4);
  const end = await exited(containerId);
  assert.equal(end.exitCode, 3);
  const expected = Array.from({ length: lines }, (_, index) => `line ${index}\n`).join('');
  assert.equal(logContent(await readFile(end.logPath, 'utf8')), expected);
  await remove(pod.id);
  await assertCensus(clean, census);
});
