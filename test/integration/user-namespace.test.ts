/** Pods with a user namespace: whose files are whose, seen from both sides. */
import assert from 'node:assert/strict';
import { chown, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sleep } from '../../src/base/deadline.ts';
import { type ContainerConfig } from '../../src/gen/cri/v1/api.ts';
import { buildImage, busyboxTar, tarOf } from '../fixtures/oci-image.ts';
import type { Daemon } from '../helpers/daemon.ts';
import { type DaemonWithImage, startDaemonWithImage } from '../helpers/daemon-with-image.ts';
import { logContent, removePod, runPod, shell, startContainer } from '../helpers/pods.ts';

const image = 'docker.io/library/owners:latest';
const mapping = [{ containerId: 0, hostId: 1_000_000, length: 65_536 }];
const usernsOptions = { mode: 0, uids: mapping, gids: mapping };
const mapped = { uidMappings: mapping, gidMappings: mapping };
let daemon: Daemon;
let close: DaemonWithImage['close'] | undefined;
let host: string;

before(async () => {
  host = await mkdtemp(join(tmpdir(), 'husk-userns-'));
  const files = tarOf([
    { name: 'of-1000', data: 'x', uid: 1000, gid: 2000 },
    { name: 'beyond', data: 'x', uid: 100_000, gid: 0 },
    { name: 'setuid', data: 'x', mode: 0o4755, uid: 1000 },
    { name: 'link', type: '2', link: 'of-1000', uid: 1000 },
  ]);
  const layers = [{ tar: busyboxTar() }, { tar: files }];
  ({ daemon, close } = await startDaemonWithImage(
    buildImage(layers, { config: { Env: ['PATH=/bin'] } }),
    'library/owners',
  ));
});
after(async () => {
  await close?.();
  await rm(host, { recursive: true, force: true });
});

function security(fields: object = {}, namespaces: object = {}): { linux: object } {
  return { linux: { securityContext: { namespaceOptions: { pid: 1, usernsOptions, ...namespaces }, ...fields } } };
}

async function outputOf(pod: Awaited<ReturnType<typeof runPod>>, config: ContainerConfig): Promise<string> {
  const containerId = await startContainer(daemon, pod, config);
  for (let tries = 0; tries < 600; tries += 1) {
    const { status } = await daemon.cri.containerStatus({ containerId, verbose: false });
    if (status?.state === 2) return logContent(await readFile(join(pod.config.logDirectory, config.logPath), 'utf8'));
    await sleep(100);
  }
  throw new Error(`container ${containerId} did not end`);
}

async function removeWholly(id: string): Promise<void> {
  await removePod(daemon, id);
  const left = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').filter((line) => line.includes(id));
  assert.deepEqual(left, []);
}

const owners =
  'cat /proc/self/uid_map | tr -s " "; stat -c "%u:%g %a %n" / /of-1000 /beyond /setuid /link /bin/busybox';

for (const handler of ['vm', 'native']) {
  test(`${handler}: root of the pod owns the image's files and what it makes, and nothing else`, async () => {
    const pod = await runPod(daemon, security(), handler);
    const lines = [
      owners,
      'echo new > /made; chown 5:6 /made; stat -c "%u:%g" /made; echo more >> /of-1000; cat /of-1000',
      'stat -c "%u:%g %n" /proc /sys /dev/shm /etc/hostname; echo here > /dev/shm/x; echo gone > /dev/null',
      'mkdir /t; mount -t tmpfs t /t 2>&1; ls /sys/class/net | tr "\\n" " "; echo; ls -d /sys/fs/cgroup',
      'hostname; echo again > /dev/stdout; nc -l -p 80 -w 1 -e true 2>&1',
    ];
    const said = await outputOf(pod, shell(image, lines.join('\n'), security()));
    assert.equal(
      said,
      [
        ' 0 1000000 65536',
        '0:0 755 /\n1000:2000 644 /of-1000\n65534:0 644 /beyond\n1000:0 4755 /setuid\n1000:0 777 /link\n0:0 755 /bin/busybox',
        '5:6\nxmore',
        `65534:65534 /proc\n65534:65534 /sys\n0:0 /dev/shm\n0:0 /etc/hostname`,
        'mount: permission denied (are you root?)\neth0 lo \n/sys/fs/cgroup',
        `${pod.config.metadata?.name}\nagain\nnc: timed out\n`,
      ].join('\n'),
    );
    const again = await outputOf(
      pod,
      shell(image, `${owners}; cat /dev/shm/x`, security({ runAsUser: { value: 1000n } })),
    );
    assert.match(again, /1000:2000 644 \/of-1000\n[^]*\nhere\n$/);
    await removeWholly(pod.id);
  });

  test(`${handler}: volumes are mapped: the pod's root is the host's root to its files`, async () => {
    const [shared, secret] = [join(host, 'shared'), join(host, 'pods/u/volumes/kubernetes.io~secret/s')];
    for (const folder of [shared, secret]) await mkdir(folder, { recursive: true });
    await writeFile(join(shared, 'of-1234'), 'old\n');
    await chown(join(shared, 'of-1234'), 1234, 1234);
    await writeFile(join(secret, 'token'), 'secret\n', { mode: 0o400 });
    const mounts = [
      { containerPath: '/shared', hostPath: shared, ...mapped },
      { containerPath: '/plain', hostPath: shared },
      { containerPath: '/secret', hostPath: secret, readonly: true, ...mapped },
      { containerPath: '/image', image: { image }, readonly: true, ...mapped },
    ];
    const pod = await runPod(daemon, security(), handler);
    const line =
      'stat -c "%u:%g %n" /shared/of-1234 /plain/of-1234 /secret/token; stat -c "%u:%g %n" /image/of-1000; cat /secret/token; echo x > /shared/new; echo x > /plain/new2; chown 7:8 /shared/of-1234';
    const said = await outputOf(pod, shell(image, `exec 2>&1; ${line}`, { ...security(), mounts }));
    assert.match(
      said,
      /^1234:1234 \/shared\/of-1234\n65534:65534 \/plain\/of-1234\n0:0 \/secret\/token\n1000:2000 \/image\/of-1000\nsecret\n/,
    );
    const [made, given] = [await stat(join(shared, 'new')), await stat(join(shared, 'of-1234'))];
    assert.deepEqual([made.uid, made.gid, given.uid, given.gid], [0, 0, 7, 8]);
    await assert.rejects(stat(join(shared, 'new2')), /ENOENT/);
    await removeWholly(pod.id);
  });

  test(`${handler}: containers of the pod share the namespace, its processes, and execs`, async () => {
    const pod = await runPod(daemon, security({}, { pid: 0 }), handler);
    const first = await startContainer(daemon, pod, shell(image, 'exec sleep 1000', security({}, { pid: 0 })));
    const line = 'ps | grep -q "[s]leep 1000" && readlink /proc/self/ns/user';
    const said = await outputOf(pod, shell(image, line, security({}, { pid: 0 })));
    const cmd = ['sh', '-c', 'readlink /proc/self/ns/user; id -u; cat /proc/self/uid_map | tr -s " "; echo x > /exec'];
    const { stdout, exitCode } = await daemon.cri.execSync({ containerId: first, cmd, timeout: 20n });
    const [namespace = ''] = said.split('\n');
    assert.match(namespace, /^user:\[\d+\]$/);
    assert.equal(Buffer.from(stdout).toString(), `${namespace}\n0\n 0 1000000 65536\n`);
    assert.equal(exitCode, 0);
    await removeWholly(pod.id);
  });

  test(`${handler}: what does not fit the namespace is refused by name`, async () => {
    const pod = await runPod(daemon, security(), handler);
    const other = { mode: 0, uids: [{ containerId: 0, hostId: 5000, length: 10 }], gids: mapping };
    const refused = async (fields: object, why: RegExp): Promise<void> => {
      await assert.rejects(startContainer(daemon, pod, shell(image, 'true', fields)), why);
    };
    await refused(
      security({}, { usernsOptions: other }),
      /userns_options "uids 5000\+10 gids 1000000\+65536": wanted that/,
    );
    await refused(security({}, { usernsOptions: { mode: 2 } }), /userns_options "the host": wanted that of the pod/);
    await refused(
      security({ runAsUser: { value: 70_000n } }),
      /user "70000": the pod's user namespace has ids 0 to 65535/,
    );
    const mounts = [{ containerPath: '/m', hostPath: host, uidMappings: other.uids, gidMappings: mapping }];
    await refused({ ...security(), mounts }, /mounts\[0\].uidMappings/);
    await removeWholly(pod.id);
  });
}
