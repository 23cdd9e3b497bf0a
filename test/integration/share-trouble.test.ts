/** Live volumes of VM pods whose host is in trouble: many files, long names, a full disk, a folder that goes, a server that dies. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PodSandboxState } from '../../src/gen/cri/v1/api.ts';
import type { Daemon } from '../helpers/daemon.ts';
import { type DaemonWithImage, startDaemonWithImage } from '../helpers/daemon-with-image.ts';
import { eventually, logContent, removePod, runPod, shell, startContainer, waitForLog } from '../helpers/pods.ts';
import { servingProcess } from '../helpers/share.ts';

const image = 'docker.io/library/busybox:latest';
const host = mkdtempSync(join(tmpdir(), 'husk-trouble-'));
let daemon: Daemon;
let close: DaemonWithImage['close'] | undefined;

before(async () => {
  ({ daemon, close } = await startDaemonWithImage());
});
after(async () => {
  await close?.();
  rmSync(host, { recursive: true, force: true });
});

/** A pod with one container that has a folder of the host at /data and runs the lines. */
async function working(
  name: string,
  lines: readonly string[],
): Promise<{ id: string; container: string; log: string; data: string }> {
  const data = join(host, name);
  mkdirSync(data, { recursive: true });
  const pod = await runPod(daemon, {}, 'vm');
  const config = shell(image, lines.join('\n'), { mounts: [{ containerPath: '/data', hostPath: data }] });
  const container = await startContainer(daemon, pod, config);
  return { id: pod.id, container, log: join(pod.config.logDirectory, config.logPath), data };
}

const bytes = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;
const said = (log: string): string => logContent(readFileSync(log, 'utf8'));

test('100000 files are looked at one by one, and one more is made', { timeout: 300_000 }, async (context) => {
  const many = join(host, 'many');
  mkdirSync(many);
  execFileSync('sh', ['-c', 'cd "$1" && seq 100000 | xargs touch', 'sh', many]);
  const from = performance.now();
  const { id, log } = await working('many', [
    'find /data | wc -l; echo new > /data/new; cat /data/new; ls -l /data/100000 | wc -l; echo end',
  ]);
  // find(1) looks at each: an exchange with the host, of a millisecond under emulation.
  await eventually(async () => said(log).endsWith('end\n'), 240_000);
  context.diagnostic(`looked at one by one in ${Math.round(performance.now() - from)} ms`);
  // find(1) names the folder too.
  assert.equal(said(log), '100001\nnew\n1\nend\n');
  await removePod(daemon, id);
  assert.equal(readFileSync(join(many, 'new'), 'utf8'), 'new\n');
});

test('paths of 4 KiB and names with newlines pass, both ways', { timeout: 120_000 }, async () => {
  const long = 'n'.repeat(255);
  const deep = Array.from({ length: 15 }, () => long).join('/');
  const lines = [
    `mkdir -p /data/${deep} && echo deep > /data/${deep}/f && wc -c < /data/${deep}/f`,
    `cd /data/${deep} && mkdir ${long} && echo deeper > ${long}/f && cat ${long}/f; cd /`,
    `touch /data/x${long} 2>&1 | grep -o 'File name too long'`,
    'printf \'content\' > "/data/two\nlines"; printf %s /data/two* | wc -l',
    'cat "/data/from\nhost"; echo; echo end',
  ];
  const data = join(host, 'names');
  mkdirSync(data);
  writeFileSync(join(data, 'from\nhost'), 'of the host');
  const { id, log } = await working('names', lines);
  await waitForLog(log, 'end');
  assert.equal(said(log), '5\ndeeper\nFile name too long\n1\nof the host\nend\n');
  assert.equal(readFileSync(join(data, 'two\nlines'), 'utf8'), 'content');
  assert.equal(
    execFileSync('sh', ['-c', `cd "$1/${deep}" && cat ${long}/f`, 'sh', data], { encoding: 'utf8' }),
    'deeper\n',
  );
  await removePod(daemon, id);
});

test('a full disk is told to the container, and room that comes back is used', {
  timeout: 120_000,
}, async (context) => {
  const full = join(host, 'full');
  mkdirSync(full);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', full]);
  context.after(() => execFileSync('umount', ['-l', full]));
  const { id, log } = await working('full', [
    "dd if=/dev/zero of=/data/big bs=64k count=32 2>&1 | grep -o 'No space left on device'",
    'echo full; until [ -e /data/go ] && ! [ -e /data/big ]; do sleep 0.1; done',
    'dd if=/dev/zero of=/data/small bs=64k count=4 2>/dev/null && echo end',
  ]);
  await waitForLog(log, 'full');
  rmSync(join(full, 'big'));
  writeFileSync(join(full, 'go'), '');
  await waitForLog(log, 'end');
  assert.equal(said(log), 'No space left on device\nfull\nend\n');
  await removePod(daemon, id);
});

test('a folder that goes while it is mounted is gone for the container, and the pod ends as any other', {
  timeout: 120_000,
}, async () => {
  const { id, log, data } = await working('goes', [
    'mkdir /data/sub; exec 3> /data/open; echo up; until ! [ -e /data/sub ]; do sleep 0.1; done',
    'echo late >&3 && echo written; touch /data/new 2>&1 | grep -o "No such file.*"; ls /data | wc -l; echo end',
    'sleep 1000',
  ]);
  await waitForLog(log, 'up');
  rmSync(data, { recursive: true });
  await waitForLog(log, 'end');
  assert.equal(said(log), 'up\nwritten\nNo such file or directory\n0\nend\n');
  await removePod(daemon, id);
});

test('the next container finds what stands at the path by then', { timeout: 120_000 }, async () => {
  const data = join(host, 'again');
  const mounts = [{ containerPath: '/data', hostPath: data }];
  const pod = await runPod(daemon, {}, 'vm');
  for (const name of ['first', 'second']) {
    mkdirSync(data);
    writeFileSync(join(data, name), '');
    const config = shell(image, 'ls /data; echo end', { mounts });
    await startContainer(daemon, pod, config);
    const log = join(pod.config.logDirectory, config.logPath);
    await waitForLog(log, 'end');
    assert.equal(said(log), `${name}\nend\n`);
    renameSync(data, `${data}-${name}`);
  }
  await removePod(daemon, pod.id);
});

test('a server that dies is followed by another; the container does not notice', { timeout: 120_000 }, async () => {
  const { id, log } = await working('dies', [
    'exec 3>> /data/open; i=0; while ! [ -e /data/enough ]; do i=$((i + 1)); echo $i >&3 || echo failed; done',
    'wc -l < /data/open | grep -qx $i && echo whole; echo end; sleep 1000',
  ]);
  const state = join(daemon.folder, 'run/pods', id);
  for (let count = 0; count < 3; count += 1) {
    await eventually(async () => bytes(join(host, 'dies/open')) > 20 * (count + 1), 20_000);
    process.kill(await servingProcess(state), 'SIGKILL');
  }
  writeFileSync(join(host, 'dies/enough'), '');
  await waitForLog(log, 'end');
  assert.ok([...said(log).matchAll(/failed/g)].length <= 3, 'at most the request that was being served');
  assert.match(await daemon.log(), /the file server of its volumes died; another goes on/);
  await removePod(daemon, id);
});

test('a server that ends for good takes its pod with it, and the status says why', { timeout: 120_000 }, async () => {
  const { id, container, log } = await working('ends', ['echo up; sleep 1000']);
  await waitForLog(log, 'up');
  const { pid } = JSON.parse(readFileSync(join(daemon.folder, 'run/pods', id, 'share.json'), 'utf8')) as {
    pid: number;
  };
  process.kill(pid, 'SIGKILL');
  const status = () => daemon.cri.podSandboxStatus({ podSandboxId: id, verbose: true });
  await eventually(async () => (await status()).status?.state === PodSandboxState.SANDBOX_NOTREADY, 10_000);
  assert.match(JSON.stringify((await status()).info), /the file server of its volumes ended: exit code 137/);
  const { status: its } = await daemon.cri.containerStatus({ containerId: container, verbose: false });
  assert.notEqual(its?.finishedAt, 0n);
  await removePod(daemon, id);
});
