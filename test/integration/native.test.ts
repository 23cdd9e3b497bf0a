/** Native pods with real runC and conmon, over CRI, as a kubelet would drive them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { after, before, test } from 'node:test';
import { sleep } from '../../src/base/deadline.ts';
import { PodSandboxState } from '../../src/gen/cri/v1/api.ts';
import { readHostFacts } from '../../src/native/host-facts.ts';
import { type NativeBench, type NativePod, startNativeBench } from '../helpers/native.ts';
import { logContent, shell, startContainer } from '../helpers/pods.ts';

let bench: NativeBench;

before(async () => {
  bench = await startNativeBench();
});
after(async () => bench?.close());

const logOf = async (containerId: string, stream?: 'stdout' | 'stderr'): Promise<string> =>
  logContent(await readFile((await bench.exited(containerId)).logPath, 'utf8'), stream);
const start = (pod: NativePod, line: string, fields: object = {}): Promise<string> =>
  startContainer(bench.daemon, pod, shell(bench.image, line, fields));

test('a native pod’s container runs on the host’s kernel: log, exit code and ExecSync come back', async (context) => {
  const begin = performance.now();
  const pod = await bench.runPod({}, { hostname: 'web-0' });
  context.diagnostic(`RunPodSandbox: ${(performance.now() - begin).toFixed(0)} ms`);
  const { status, info } = await bench.daemon.cri.podSandboxStatus({ podSandboxId: pod.id, verbose: true });
  assert.equal(status?.state, PodSandboxState.SANDBOX_READY);
  assert.match(status?.network?.ip ?? '', /^10\.2[1-5]\d\./);
  context.diagnostic(`timeline ${info['timeline']}`);
  const line = 'hostname; id -u; echo oops >&2; while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 7';
  const mid = performance.now();
  const containerId = await start(pod, line);
  context.diagnostic(`CreateContainer + StartContainer: ${(performance.now() - mid).toFixed(0)} ms`);
  const { stdout, exitCode } = await bench.daemon.cri.execSync({
    containerId,
    cmd: ['cat', '/proc/version'],
    timeout: 60n,
  });
  assert.deepEqual([stdout.toString(), exitCode], [await readFile('/proc/version', 'utf8'), 0]);
  await bench.daemon.cri.execSync({ containerId, cmd: ['touch', '/tmp/go'], timeout: 60n });
  const end = await bench.exited(containerId);
  assert.deepEqual([end.exitCode, end.reason], [7, 'Error']);
  const log = await readFile(end.logPath, 'utf8');
  assert.equal(logContent(log, 'stdout'), 'web-0\n0\n');
  assert.equal(logContent(log, 'stderr'), 'oops\n');
  await bench.removePod(pod.id);
  assert.deepEqual(bench.holdings(), []);
});

test('a pod that wants the host’s network is run natively and has the host’s name', async () => {
  const pod = await bench.runPod({ namespaceOptions: { network: 2, pid: 1 } }, {}, '');
  const containerId = await start(pod, 'hostname; readlink /proc/self/ns/net');
  assert.equal(await logOf(containerId), `${hostname()}\n${await readlink('/proc/self/ns/net')}\n`);
  await bench.removePod(pod.id);
  assert.deepEqual(bench.holdings(), []);
});

test('a stop before the program can take its signal still ends it by that signal', async () => {
  const pod = await bench.runPod();
  const line = 'sleep 2; trap "exit 7" TERM; sleep 100 & wait';
  const id = await startContainer(bench.daemon, pod, shell(bench.image, line));
  await bench.daemon.cri.stopContainer({ containerId: id, timeout: 30n });
  const { exitCode } = await bench.exited(id);
  assert.equal(exitCode, 7);
  await bench.removePod(pod.id);
});

test('a command that runs too long is killed with all it started', async () => {
  const pod = await bench.runPod();
  const containerId = await start(pod, 'sleep 600');
  const cmd = ['sh', '-c', 'setsid sleep 500 & sleep 501'];
  await assert.rejects(bench.daemon.cri.execSync({ containerId, cmd, timeout: 1n }), { code: 4 });
  const { stdout } = await bench.daemon.cri.execSync({ containerId, cmd: ['ps'], timeout: 60n });
  assert.doesNotMatch(stdout.toString(), /sleep 50[01]/);
  await bench.daemon.cri.stopContainer({ containerId, timeout: 0n });
  assert.equal((await bench.exited(containerId)).exitCode, 137);
  await bench.daemon.cri.removeContainer({ containerId });
  await bench.removePod(pod.id);
  assert.deepEqual(bench.holdings(), []);
});

test('containers of a pod share its PID namespace when they ask for it', async () => {
  const shared = { namespaceOptions: { pid: 0 } };
  const pod = await bench.runPod(shared);
  const linux = { linux: { securityContext: shared } };
  const first = await start(pod, 'sleep 777', linux);
  const second = await start(pod, 'sleep 1000', linux);
  const { stdout } = await bench.daemon.cri.execSync({ containerId: second, cmd: ['ps'], timeout: 60n });
  assert.match(stdout.toString(), /sleep 777/);
  assert.match(stdout.toString(), /1 65535\s+\/init/);
  await bench.daemon.cri.stopContainer({ containerId: first, timeout: 0n });
  assert.equal((await bench.exited(first)).exitCode, 137);
  await bench.removePod(pod.id);
  assert.deepEqual(bench.holdings(), []);
});

test('containers go on while the daemon is dead: no line is lost or doubled, exit codes are right', async () => {
  const pod = await bench.runPod();
  const lines = 200;
  const count = `i=0; while [ $i -lt ${lines} ]; do echo line $i; i=$((i+1)); sleep 0.02; done; exit 3`;
  const containerId = await start(pod, count);
  const short = await start(pod, 'sleep 1; exit 4');
  await bench.daemon.kill();
  await sleep(1_500);
  await bench.daemon.restart();
  assert.equal((await bench.exited(short)).exitCode, 4);
  const end = await bench.exited(containerId);
  assert.equal(end.exitCode, 3);
  const expected = Array.from({ length: lines }, (_, index) => `line ${index}\n`).join('');
  assert.equal(logContent(await readFile(end.logPath, 'utf8')), expected);
  await bench.removePod(pod.id);
  assert.deepEqual(bench.holdings(), []);
});

/** HUSK_LONG_TESTS=1: the numbers that the specification promises. */
const [crowd, kills] = process.env['HUSK_LONG_TESTS'] === '1' ? [30, 10] : [8, 3];

test(`${crowd} containers survive ${kills} kills of daemon and gateway with every line and exit code`, async () => {
  const pod = await bench.runPod();
  const lines = 50 * kills;
  const script = (code: number): string =>
    `i=0; while [ $i -lt ${lines} ]; do echo line $i; i=$((i+1)); sleep 0.02; done; exit ${code}`;
  const containers: string[] = [];
  for (let index = 0; index < crowd; index += 1) {
    // Every fourth ends early, most of them while there is no bench.daemon.
    const line = index % 4 === 3 ? `sleep ${(index % 8) / 4 + 1}; exit ${index + 1}` : script(index + 1);
    containers.push(await start(pod, line));
  }
  for (let round = 0; round < kills; round += 1) {
    await bench.daemon.kill();
    killGateway();
    await sleep(400);
    await bench.daemon.restart();
  }
  const whole = Array.from({ length: lines }, (_, index) => `line ${index}\n`).join('');
  for (const [index, containerId] of containers.entries()) {
    const end = await bench.exited(containerId);
    assert.equal(end.exitCode, index + 1);
    const log = logContent(await readFile(end.logPath, 'utf8'));
    assert.equal(log, index % 4 === 3 ? '' : whole, `log of container ${index}`);
  }
  await bench.removePod(pod.id);
  assert.deepEqual(bench.holdings(), []);
});

function killGateway(): void {
  const { pid } = JSON.parse(readFileSync(`${bench.daemon.folder}/run/gateway/pid.json`, 'utf8')) as { pid: number };
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It was gone already.
  }
}

test('a container that eats more memory than it may is OOMKilled', async () => {
  const pod = await bench.runPod();
  const linux = {
    resources: { memoryLimitInBytes: 16n * 1024n * 1024n },
    securityContext: { namespaceOptions: { pid: 1 } },
  };
  const containerId = await start(pod, 'tail /dev/zero', { linux });
  const end = await bench.exited(containerId);
  assert.deepEqual([end.exitCode, end.reason], [137, 'OOMKilled']);
  await bench.removePod(pod.id);
  assert.deepEqual(bench.holdings(), []);
});

/** On a machine without CAP_SYS_RESOURCE runC dies of it: "can't get final child's PID from pipe". */
test('a negative oom_score_adj becomes what the kernel allows, in pod and container, and fails neither', async () => {
  const resources = { oomScoreAdj: -998n };
  const pod = await bench.runPod({}, { linux: { resources, securityContext: { namespaceOptions: { pid: 0 } } } });
  const linux = { resources, securityContext: { namespaceOptions: { pid: 0 } } };
  const containerId = await start(pod, 'cat /proc/self/oom_score_adj', { linux });
  const { leastOomScoreAdj } = await readHostFacts();
  assert.equal(await logOf(containerId), `${Math.max(-998, leastOomScoreAdj)}\n`);
  await bench.removePod(pod.id);
  assert.deepEqual(bench.holdings(), []);
});

test('a privileged container has the host’s devices and capabilities, another has not', async () => {
  const pod = await bench.runPod({ privileged: true });
  const see =
    'ls /dev | wc -l; grep CapEff /proc/self/status; cat /proc/sys/kernel/hostname > /dev/null; echo 0 > /proc/sys/vm/drop_caches && echo writable';
  const linux = { securityContext: { privileged: true, namespaceOptions: { pid: 1 } } };
  const strong = await start(pod, see, { linux });
  const weak = await start(pod, see);
  const [many, capEff] = (await logOf(strong, 'stdout')).split('\n');
  const [few, , refused] = (await logOf(weak, 'stdout')).split('\n');
  assert.ok(Number(many) > Number(few) + 5, `${many} devices, and ${few} without privileges`);
  const own = /CapEff:\s*(\S+)/.exec(await readFile('/proc/self/status', 'utf8'))?.[1] ?? '';
  assert.ok((capEff ?? '').includes(own), `${capEff}, huskd has ${own}`);
  assert.equal(refused, '');
  await bench.removePod(pod.id);
  assert.deepEqual(bench.holdings(), []);
});

test('mounts: host paths, read-only, a missing source is made, a shared one needs a shared mount', async () => {
  const pod = await bench.runPod();
  const source = `${bench.daemon.folder}/volume`;
  const mount = (fields: object): object => ({ containerPath: '/v', hostPath: source, propagation: 0, ...fields });
  const write = await start(pod, 'echo hello > /v/file', { mounts: [mount({})] });
  assert.equal((await bench.exited(write)).exitCode, 0);
  assert.equal(await readFile(`${source}/file`, 'utf8'), 'hello\n');
  const readonly = {
    mounts: [mount({ readonly: true }), mount({ containerPath: '/v2', recursiveReadOnly: true, readonly: true })],
  };
  const script = 'cat /v/file; touch /v/x && echo wrote; touch /v2/x && echo wrote; true';
  const read = await start(pod, script, readonly);
  assert.equal(await logOf(read, 'stdout'), 'hello\n');
  const shared = shell(bench.image, 'true', { mounts: [mount({ propagation: 2 })] });
  await assert.rejects(startContainer(bench.daemon, pod, shared), {
    code: 9,
    message: /config\.mounts\[0\]\.propagation/,
  });
  await bench.removePod(pod.id);
  assert.deepEqual(bench.holdings(), []);
});

test('image volumes: an image, a folder and a file of it, read-only; also after the daemon was killed', async () => {
  const pod = await bench.runPod();
  const volume = (containerPath: string, imageSubPath: string): object => ({
    containerPath,
    image: { image: bench.image },
    imageSubPath,
    readonly: true,
  });
  // /bin/sh is a link to busybox, which the bind of a file follows within the image.
  const mounts = [volume('/image', ''), volume('/part', 'bin'), volume('/shell', 'bin/sh')];
  const look = 'ls /image/bin/busybox /part/busybox; cmp /shell /bin/busybox && echo same';
  const script = `exec 2>&1; ${look}; touch /image/x /part/x; echo ready; sleep 1000`;
  const containerId = await start(pod, script, { mounts });
  const { status } = await bench.daemon.cri.containerStatus({ containerId, verbose: false });
  assert.equal(status?.mounts[0]?.image?.imageRef, status?.imageRef);
  await bench.daemon.kill();
  await bench.daemon.restart();
  const cmd = ['sh', '-c', look];
  const { stdout } = await bench.daemon.cri.execSync({ containerId, cmd, timeout: 60n });
  assert.equal(stdout.toString(), '/image/bin/busybox\n/part/busybox\nsame\n');
  await bench.daemon.cri.stopContainer({ containerId, timeout: 0n });
  assert.match(
    await logOf(containerId),
    /^\/image\/bin\/busybox\n\/part\/busybox\nsame\ntouch: \/image\/x: Read-only file system\ntouch: \/part\/x: Read-only file system\nready\n/,
  );
  const missing = shell(bench.image, 'true', { mounts: [volume('/image', 'no/such')] });
  await assert.rejects(startContainer(bench.daemon, pod, missing), {
    code: 9,
    message: /ImageVolumeMountFailed: mount "\/image": sub-path "no\/such".*\(next step: name a file or folder/,
  });
  await bench.removePod(pod.id);
  assert.deepEqual(bench.holdings(), []);
});
