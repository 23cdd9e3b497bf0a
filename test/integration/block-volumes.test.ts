/** Disks of the host in pods: as devices, and with a file system that the guest mounts. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import type { Daemon } from '../helpers/daemon.ts';
import { type DaemonWithImage, startDaemonWithImage } from '../helpers/daemon-with-image.ts';
import { eventually, logContent, removePod, runPod, shell, startContainer, waitForLog } from '../helpers/pods.ts';

const image = 'docker.io/library/busybox:latest';
const host = mkdtempSync(join(tmpdir(), 'husk-block-'));
const kata = '/run/kata-containers/shared/direct-volumes';
const loops: string[] = [];
let daemon: Daemon;
let close: DaemonWithImage['close'] | undefined;

before(async () => {
  ({ daemon, close } = await startDaemonWithImage());
});
after(async () => {
  await close?.();
  for (const loop of loops) execFileSync('losetup', ['-d', loop]);
  rmSync(host, { recursive: true, force: true });
});

/** A disk that is a file of the test's. */
function disk(name: string, size = '32M'): { readonly device: string; readonly file: string } {
  const file = join(host, name);
  execFileSync('truncate', ['-s', size, file]);
  const device = execFileSync('losetup', ['-f', '--show', file], { encoding: 'utf8' }).trim();
  loops.push(device);
  return { device, file };
}

/** Runs a line in a container and returns what it said. */
async function said(pod: Awaited<ReturnType<typeof runPod>>, line: string, fields: object): Promise<string> {
  const config = shell(image, `${line}; echo end`, fields);
  await startContainer(daemon, pod, config);
  const path = join(pod.config.logDirectory, config.logPath);
  await waitForLog(path, 'end');
  return logContent(readFileSync(path, 'utf8'));
}

for (const handler of ['vm', 'native'] as const) {
  test(`a ${handler} pod has a disk as a device, to write or only to read`, { timeout: 120_000 }, async () => {
    const { device, file } = disk(handler);
    writeFileSync(file, 'from the host', { flag: 'r+' });
    const pod = await runPod(daemon, {}, handler);
    const devices = [{ hostPath: device, containerPath: '/dev/data', permissions: 'rwm' }];
    const write = [
      'head -c 13 /dev/data; echo',
      'wc -c < /dev/data',
      'printf FROM | dd of=/dev/data conv=notrunc,fsync 2>/dev/null',
      'ls -l /dev/data | cut -c 1',
    ].join('; ');
    assert.equal(await said(pod, write, { devices }), `from the host\n${32 * 1024 * 1024}\nb\nend\n`);
    execFileSync('blockdev', ['--flushbufs', device]);
    assert.equal(readFileSync(file).subarray(0, 13).toString(), 'FROM the host');
    const read = [{ hostPath: device, containerPath: '/dev/data', permissions: 'r' }];
    const line = 'head -c 4 /dev/data; echo; (printf no > /dev/data) 2>/dev/null || echo refused';
    assert.equal(await said(pod, line, { devices: read }), 'FROM\nrefused\nend\n');
    await removePod(daemon, pod.id);
    execFileSync('blockdev', ['--getsize64', device]);
  });
}

test('a disk that is assigned to a path is mounted in the guest, once', { timeout: 120_000 }, async (context) => {
  const { device } = disk('direct');
  execFileSync('mkfs.ext4', ['-q', device]);
  const hostPath = assign(context, device, 'direct/mount', { way: 'kata' });
  const pod = await runPod(daemon);
  const mounts = [{ hostPath, containerPath: '/data' }];
  const line = 'grep -o " /data ext4 rw[^ ]*noatime" /proc/mounts; echo kept > /data/a; sync; ls /data';
  assert.equal(await said(pod, line, { mounts }), ' /data ext4 rw,nodev,noatime\na\nlost+found\nend\n');
  const read = [{ hostPath, containerPath: '/data', readonly: true }];
  const again = 'cat /data/a; (echo > /data/b) 2>/dev/null || echo refused';
  assert.equal(await said(pod, again, { mounts: read }), 'kept\nrefused\nend\n');
  await removePod(daemon, pod.id);
  const at = join(host, 'at');
  mkdirSync(at);
  execFileSync('mount', ['-o', 'ro', device, at]);
  context.after(() => execFileSync('umount', [at]));
  assert.equal(readFileSync(join(at, 'a'), 'utf8'), 'kept\n');
});

/** The kubelet's folder of a volume for which a disk of Kata's or Frakti's kind is there. */
function assign(
  context: TestContext,
  device: string,
  name: string,
  { way, fsType = 'ext4' }: { readonly way: 'kata' | 'frakti'; readonly fsType?: string },
): string {
  const plugin = way === 'kata' ? 'kubernetes.io~csi' : 'gce~flexvolume_driver';
  const hostPath = join(host, 'pods/u1/volumes', plugin, name);
  mkdirSync(hostPath, { recursive: true });
  const base64 = Buffer.from(hostPath).toString('base64').replaceAll('/', '_').replaceAll('+', '-');
  const folder = way === 'kata' ? join(kata, base64) : hostPath;
  mkdirSync(folder, { recursive: true });
  context.after(() => rmSync(folder, { recursive: true }));
  const info = { 'volume-type': 'block', device, fstype: fsType, metadata: {}, options: ['noatime'] };
  const flex = { gCEPDOptsData: { volumeID: name, zone: 'z', project: 'p', devicePath: device, fsType } };
  const [file, content] = way === 'kata' ? ['mountInfo.json', info] : ['hyper-flexvolume.json', flex];
  writeFileSync(join(folder, file), JSON.stringify(content));
  return hostPath;
}

test('a disk of a flexvolume of Frakti’s is mounted in the guest', { timeout: 120_000 }, async (context) => {
  const { device } = disk('flex');
  execFileSync('mkfs.ext4', ['-q', device]);
  const pod = await runPod(daemon);
  const mounts = [{ hostPath: assign(context, device, 'flex', { way: 'frakti' }), containerPath: '/data' }];
  assert.match(await said(pod, 'grep -c " /data ext4 rw" /proc/mounts; ls /data', { mounts }), /^1\nlost\+found\n/);
  await removePod(daemon, pod.id);
});

test('a disk that grows on the host grows in the guest, with its file system', {
  timeout: 180_000,
}, async (context) => {
  const [plain, ext4, xfs] = [disk('grow-plain'), disk('grow-ext4'), disk('grow-xfs', '320M')];
  execFileSync('mkfs.ext4', ['-q', ext4.device]);
  execFileSync('mkfs.xfs', ['-q', xfs.device]);
  const mounts = [
    { ...ext4, fsType: 'ext4' },
    { ...xfs, fsType: 'xfs' },
  ].map(({ device, fsType }, index) => ({
    hostPath: assign(context, device, fsType, { way: 'kata', fsType }),
    containerPath: `/grow${index}`,
  }));
  const devices = [{ hostPath: plain.device, containerPath: '/dev/data', permissions: 'rwm' }];
  const pod = await runPod(daemon);
  const line = [
    'size() { echo $(wc -c < /dev/data) $(df -m /grow0 /grow1 | awk "NR > 1 { print \\$2 }"); }; was=$(size); echo $was',
    'until [ "$(size | cut -d " " -f 1)" = 67108864 ] && [ "$(size | cut -d " " -f 2)" -gt 50 ] && [ "$(size | cut -d " " -f 3)" -gt 400 ]; do sleep 0.2; done',
    'dd if=/dev/zero of=/grow0/big bs=1M count=40 2>/dev/null && echo fits',
  ].join('; ');
  const config = shell(image, `${line}; echo end`, { devices, mounts });
  await startContainer(daemon, pod, config);
  const path = join(pod.config.logDirectory, config.logPath);
  await eventually(async () => logContent(readFileSync(path, 'utf8')).startsWith('33554432 '), 20_000);
  // Also by a daemon that did not plug them in.
  await daemon.kill();
  await daemon.restart();
  const from = performance.now();
  for (const { device, file, more } of [plain, ext4, { ...xfs, more: '640M' }].map((each) => ({
    more: '64M',
    ...each,
  }))) {
    execFileSync('truncate', ['-s', more, file]);
    execFileSync('losetup', ['-c', device]);
  }
  await waitForLog(path, 'end');
  context.diagnostic(`all three seen in the container after ${Math.round(performance.now() - from)} ms`);
  assert.match(logContent(readFileSync(path, 'utf8')), /\nfits\nend\n$/);
  await removePod(daemon, pod.id);
});

test('a device that is not there is refused, and nothing is made in its place', async (context) => {
  const pod = await runPod(daemon, {}, 'vm');
  const absent = join(host, 'absent');
  const devices = [{ hostPath: absent, containerPath: '/dev/data', permissions: 'rwm' }];
  await assert.rejects(
    startContainer(daemon, pod, shell(image, 'true', { devices })),
    /config\.devices.*absent.*ENOENT/,
  );
  const mounts = [{ hostPath: assign(context, absent, 'absent', { way: 'kata' }), containerPath: '/data' }];
  await assert.rejects(startContainer(daemon, pod, shell(image, 'true', { mounts })), /absent.*ENOENT/);
  assert.equal(existsSync(absent), false);
  await removePod(daemon, pod.id);
});

test('what is no block device is refused by name', async () => {
  const pod = await runPod(daemon, {}, 'vm');
  const devices = [{ hostPath: '/dev/null', containerPath: '/dev/data', permissions: 'rwm' }];
  await assert.rejects(startContainer(daemon, pod, shell(image, 'true', { devices })), /"\/dev\/null": a character/);
  await removePod(daemon, pod.id);
});
