/** Volumes of pods in virtual machines, laid out as a kubelet does. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sleep } from '../../src/base/deadline.ts';
import { run } from '../../src/base/exec.ts';
import { busyboxImage } from '../fixtures/oci-image.ts';
import type { Daemon } from '../helpers/daemon.ts';
import { type DaemonWithImage, startDaemonWithImage } from '../helpers/daemon-with-image.ts';
import { logContent, runPod, shell, startContainer } from '../helpers/pods.ts';

const image = 'docker.io/library/busybox:latest';
let daemon: Daemon;
let close: DaemonWithImage['close'] | undefined;
let host: string;

before(async () => {
  host = await mkdtemp(join(tmpdir(), 'husk-volumes-'));
  const watch = join(host, 'watch');
  const source = join(import.meta.dirname, '../fixtures/watch.c');
  await run('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-static', '-o', watch, source], { timeoutMs: 60_000 });
  const extra = [{ name: 'bin/inotify-print', data: await readFile(watch), mode: 0o755 }];
  ({ daemon, close } = await startDaemonWithImage(busyboxImage({ extra })));
});
after(async () => {
  await close?.();
  await rm(host, { recursive: true, force: true });
});

const kubelet = (...parts: string[]): string => join(host, 'pods/u1', ...parts);

/** Writes a volume as the kubelet's atomic writer does (kubernetes/pkg/volume/util/atomic_writer.go). */
async function writeAtomically(folder: string, stamp: string, files: Readonly<Record<string, string>>): Promise<void> {
  const before = await readFile(join(folder, '.stamp'), 'utf8').catch(() => '');
  await mkdir(join(folder, `..${stamp}`), { recursive: true });
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, `..${stamp}`, name), text);
  await symlink(`..${stamp}`, join(folder, '..data_tmp'));
  await rename(join(folder, '..data_tmp'), join(folder, '..data'));
  for (const name of Object.keys(files)) {
    await symlink(`..data/${name}`, join(folder, name)).catch(() => undefined);
  }
  await writeFile(join(folder, '.stamp'), `..${stamp}`);
  if (before !== '') await rm(join(folder, before), { recursive: true });
}

/** Waits for the line in a container's log; the time that stands before it, in milliseconds. */
async function logged(path: string, line: string): Promise<number> {
  for (let tries = 0; tries < 600; tries += 1) {
    const found = (await readFile(path, 'utf8').catch(() => '')).split('\n').find((each) => each.endsWith(` ${line}`));
    if (found !== undefined) return Date.parse(found.slice(0, 30));
    await sleep(50);
  }
  throw new Error(`"${line}" did not come in ${path}: ${await readFile(path, 'utf8')}`);
}

test('a configMap, a secret, /etc/hosts and emptyDirs look as on a node', async (context) => {
  const configMap = kubelet('volumes/kubernetes.io~configmap/config');
  const secret = kubelet('volumes/kubernetes.io~secret/token');
  const scratch = kubelet('volumes/kubernetes.io~empty-dir/scratch');
  const memory = kubelet('volumes/kubernetes.io~empty-dir/memory');
  const subPath = kubelet('volume-subpaths/memory/one/0');
  await writeAtomically(configMap, '2026_01', { a: 'one', 'with\nnewline': 'x' });
  await writeAtomically(secret, '2026_01', { token: 'first' });
  for (const folder of [scratch, memory, subPath]) await mkdir(folder, { recursive: true, mode: 0o777 });
  await run('mount', ['-t', 'tmpfs', '-o', 'size=8m,mode=1777', 'tmpfs', memory], { timeoutMs: 5_000 });
  context.after(() => run('umount', [memory], { timeoutMs: 5_000 }));
  await mkdir(join(memory, 'part'));
  await run('mount', ['--bind', join(memory, 'part'), subPath], { timeoutMs: 5_000 });
  context.after(() => run('umount', [subPath], { timeoutMs: 5_000 }));
  await writeFile(kubelet('etc-hosts'), '127.0.0.1 localhost\n10.0.0.1 web\n');
  const pod = await runPod(daemon);
  const mounts = [
    { containerPath: '/etc/config', hostPath: configMap, readonly: true },
    { containerPath: '/etc/token', hostPath: secret, readonly: true },
    { containerPath: '/scratch', hostPath: scratch },
    { containerPath: '/memory', hostPath: memory },
    { containerPath: '/below', hostPath: subPath },
    { containerPath: '/etc/hosts', hostPath: kubelet('etc-hosts') },
    { containerPath: '/image', image: { image }, readonly: true },
    { containerPath: '/image-bin', image: { image }, imageSubPath: 'bin', readonly: true },
  ];
  const first = [
    'inotify-print /etc/token 1000 > /tmp/events & until grep -q watching /tmp/events; do sleep 0.1; done',
    'cat /etc/config/a /etc/token/token; ls -A /etc/config | wc -l; touch /etc/config/b 2>&1',
    'grep -c web /etc/hosts; echo hello > /scratch/x; echo there > /memory/y; echo z > /below/z',
    'ls /image/bin/busybox; ls /image-bin/busybox; touch /image/x 2>&1; echo ready',
    'until grep -q second /etc/token/token; do sleep 0.2; done; echo rotated; ls -A /etc/token; cat /tmp/events; echo done',
    'sleep 1000',
  ];
  const second =
    'cat /scratch/x /memory/y /memory/part/z; df -m /memory | tail -1; dd if=/dev/zero of=/memory/big bs=1M count=20 2>&1; echo done';
  const one = shell(image, first.join('\n'), { mounts });
  await startContainer(daemon, pod, one);
  const logOf = (config: typeof one): string => join(pod.config.logDirectory, config.logPath);
  await logged(logOf(one), 'ready');
  const changedAt = Date.now();
  await writeAtomically(secret, '2026_02', { token: 'second' });
  const seenAt = await logged(logOf(one), 'rotated');
  context.diagnostic(`rotation seen in the container after ${seenAt - changedAt} ms, by its log`);
  const two = shell(image, second, { mounts: mounts.slice(2) });
  const id = await startContainer(daemon, pod, two);
  await logged(logOf(two), 'done');
  const [said, saidToo] = [
    logContent(await readFile(logOf(one), 'utf8')),
    logContent(await readFile(logOf(two), 'utf8')),
  ];
  assert.match(
    said,
    /^onefirst5\ntouch: .*Read-only file system\n1\n\/image\/bin\/busybox\n\/image-bin\/busybox\ntouch: .*Read-only/,
  );
  assert.match(said, /rotated\n\.\.2026_02\n\.\.data\n\.stamp\ntoken\n/);
  const seen = {
    created: said.indexOf('..2026_02 '),
    renamed: said.indexOf('..data 80'),
    removed: said.indexOf('..2026_01 '),
  };
  assert.ok(seen.created > 0 && seen.created < seen.renamed && seen.renamed < seen.removed, said);
  assert.match(saidToo, /^hello\nthere\nz\n.* 8 .*\n[^]*No space left/);
  const { status } = await daemon.cri.containerStatus({ containerId: id, verbose: false });
  assert.equal(status?.mounts.at(-1)?.image?.imageRef, status?.imageRef);
  const missing = [{ containerPath: '/image', image: { image }, imageSubPath: 'no/such', readonly: true }];
  await assert.rejects(startContainer(daemon, pod, shell(image, 'true', { mounts: missing })), {
    code: 9,
    message: /ImageVolumeMountFailed: mount "\/image": sub-path "no\/such".*\(next step: name a file or folder/,
  });
  await daemon.cri.stopPodSandbox({ podSandboxId: pod.id });
  await daemon.cri.removePodSandbox({ podSandboxId: pod.id });
});
