/** Disks of the host in pods: as devices, and with a file system that the guest mounts. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PullImageRequest } from '../../src/gen/cri/v1/api.ts';
import { busyboxImage } from '../fixtures/oci-image.ts';
import { pushImage, startRegistry, type TestRegistry } from '../fixtures/registry.ts';
import { type Daemon, startDaemon } from '../helpers/daemon.ts';
import { logContent, removePod, runPod, shell, startContainer, waitForLog } from '../helpers/pods.ts';

const image = 'docker.io/library/busybox:latest';
const host = mkdtempSync(join(tmpdir(), 'husk-block-'));
const kata = '/run/kata-containers/shared/direct-volumes';
const loops: string[] = [];
let registry: TestRegistry;
let daemon: Daemon;

before(async () => {
  registry = await startRegistry();
  await pushImage(registry, 'library/busybox:latest', busyboxImage());
  daemon = await startDaemon({ mirror: { to: registry.host, of: ['docker.io'] } });
  await daemon.cri.pullImage(PullImageRequest.fromPartial({ image: { image } }));
});
after(async () => {
  await daemon?.stop();
  await registry?.stop();
  for (const loop of loops) execFileSync('losetup', ['-d', loop]);
  rmSync(host, { recursive: true, force: true });
});

/** A disk of 32 MiB that is a file of the test's. */
function disk(name: string): { readonly device: string; readonly file: string } {
  const file = join(host, name);
  execFileSync('truncate', ['-s', '32M', file]);
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
  const hostPath = join(host, 'pods/u1/volumes/kubernetes.io~csi/direct/mount');
  mkdirSync(hostPath, { recursive: true });
  const assigned = join(kata, Buffer.from(hostPath).toString('base64').replaceAll('/', '_').replaceAll('+', '-'));
  mkdirSync(assigned, { recursive: true });
  context.after(() => rmSync(assigned, { recursive: true }));
  const info = { 'volume-type': 'block', device, fstype: 'ext4', metadata: {}, options: ['noatime'] };
  writeFileSync(join(assigned, 'mountInfo.json'), JSON.stringify(info));
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

test('what is no block device is refused by name', async () => {
  const pod = await runPod(daemon, {}, 'vm');
  const devices = [{ hostPath: '/dev/null', containerPath: '/dev/data', permissions: 'rwm' }];
  await assert.rejects(startContainer(daemon, pod, shell(image, 'true', { devices })), /"\/dev\/null": a character/);
  await removePod(daemon, pod.id);
});
