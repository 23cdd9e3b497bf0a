/** Native pods: faults and the daemon's death at each step, and requests that have to be refused. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CreateContainerRequest, ListPodSandboxRequest } from '../../src/gen/cri/v1/api.ts';
import { type NativeBench, startNativeBench } from '../helpers/native.ts';
import { shell, startContainer } from '../helpers/pods.ts';

let bench: NativeBench;

before(async () => {
  bench = await startNativeBench();
});
after(async () => bench?.close());

const sharedPid = { namespaceOptions: { pid: 0 } };
const runPlaces = ['folders', 'netns', 'network', 'namespaces', 'mounts', 'files', 'init'].map(
  (name) => `native-run.${name}`,
);
const createPlaces = ['log', 'root', 'spec', 'container'].map((name) => `native-create.${name}`);

/** Each place fails once: the first try fails at the first, the next at the second. */
const failingCreates = createPlaces.map((place) => `${place}=error*1`).join(';');
/** Daemons are started for these; HUSK_LONG_TESTS=1: at every place. */
const killPlaces =
  process.env['HUSK_LONG_TESTS'] === '1'
    ? [...runPlaces, ...createPlaces]
    : ['native-run.files', 'native-create.root', 'native-create.container'];
const withoutCgroups = (): string[] => bench.holdings().filter((line) => !line.startsWith('/sys/fs/cgroup'));

test('a fault at any step fails the call with its place, leaves nothing of it, and a retry works', async () => {
  // A daemon for each place of RunPodSandbox: some run beside one another, and all that fail would use up their turn.
  for (const place of runPlaces) {
    await bench.daemon.kill();
    await bench.daemon.restart({ HUSK_FAILPOINTS: `${place}=error*1` });
    await assert.rejects(bench.runPod(sharedPid), { message: new RegExp(`stage ${place.split('.')[1]}: failpoint`) });
    assert.deepEqual(bench.holdings(), [], place);
  }
  await bench.daemon.kill();
  await bench.daemon.restart({ HUSK_FAILPOINTS: failingCreates });
  const pod = await bench.runPod(sharedPid);
  const before = withoutCgroups();
  const config = shell(bench.image, 'true');
  const request = CreateContainerRequest.fromPartial({
    podSandboxId: pod.id,
    config,
    sandboxConfig: pod.config,
  } as object);
  for (const place of createPlaces) {
    await assert.rejects(bench.daemon.cri.createContainer(request), { message: new RegExp(`failpoint "${place}"`) });
    // The cgroup that conmon was moved into stays with the pod.
    assert.deepEqual(withoutCgroups(), before, place);
  }
  await bench.daemon.cri.createContainer(request);
  await bench.removePod(pod.id);
  assert.deepEqual(bench.holdings(), []);
});

test('a daemon killed at a step starts again, and nothing is left when its pods are removed', async () => {
  for (const place of killPlaces) {
    await bench.daemon.kill();
    await bench.daemon.restart({ HUSK_FAILPOINTS: `${place}=kill` });
    const attempt = bench
      .runPod(sharedPid)
      .then((pod) => startContainer(bench.daemon, pod, shell(bench.image, 'sleep 1000')));
    await assert.rejects(attempt, { code: 14 }, place);
    await bench.daemon.restart();
    const { items } = await bench.daemon.cri.listPodSandbox(ListPodSandboxRequest.fromPartial({}));
    for (const { id } of items) await bench.removePod(id);
    assert.deepEqual(bench.holdings(), [], place);
  }
});

const invalid = 3;
const precondition = 9;
const security = (fields: object): object => ({
  linux: { securityContext: { namespaceOptions: { pid: 1 }, ...fields } },
});

const badContainers: readonly (readonly [words: string, fields: object, code: number, message: RegExp])[] = [
  ['privileged in a pod that is not', security({ privileged: true }), invalid, /security_context\.privileged/],
  ['a group without a user', security({ runAsGroup: { value: 5n } }), invalid, /run_as_group/],
  [
    'an unknown capability',
    security({ capabilities: { addCapabilities: ['FLY'] } }),
    invalid,
    /add_capabilities "FLY"/,
  ],
  ['a user beyond 31 bits', security({ runAsUser: { value: 4_294_967_296n } }), invalid, /run_as_user/],
  ['a user that the image has not', security({ runAsUsername: 'ghost' }), invalid, /"ghost"/],
  [
    'a missing seccomp file',
    security({ seccomp: { profileType: 2, localhostRef: '/no/such.json' } }),
    invalid,
    /seccomp\.localhost_ref "\/no\/such\.json"/,
  ],
  [
    'a seccomp file that is no JSON',
    security({ seccomp: { profileType: 2, localhostRef: '/etc/passwd' } }),
    invalid,
    /seccomp\.localhost_ref/,
  ],
  [
    'an endless seccomp file',
    security({ seccomp: { profileType: 2, localhostRef: '/dev/zero' } }),
    invalid,
    /seccomp\.localhost_ref/,
  ],
  [
    'an AppArmor profile that is not loaded',
    security({ apparmor: { profileType: 2, localhostRef: 'nothing' } }),
    precondition,
    /apparmor/,
  ],
  [
    'the host’s processes in a pod that has its own',
    security({ namespaceOptions: { pid: 2 } }),
    invalid,
    /namespace_options\.pid "NODE"/,
  ],
  [
    'a target that is no container',
    security({ namespaceOptions: { pid: 3, targetId: 'f'.repeat(64) } }),
    precondition,
    /target_id/,
  ],
  [
    'a device that does not exist',
    { devices: [{ containerPath: '/dev/x', hostPath: '/dev/no-such', permissions: 'r' }] },
    invalid,
    /config\.devices\[0\]\.host_path/,
  ],
  [
    'a device that is a file',
    { devices: [{ containerPath: '/dev/x', hostPath: '/etc/passwd', permissions: 'r' }] },
    invalid,
    /config\.devices\[0\]\.host_path/,
  ],
  ['a CDI device', { CDIDevices: [{ name: 'vendor.com/class=one' }] }, 12, /config\.CDI_devices/],
  ['a command that is not there', { command: ['/no/such'] }, 2, /no such file/],
];

test('containers that cannot be are refused by the name of the field, and nothing is left', async (context) => {
  const pod = await bench.runPod();
  const before = withoutCgroups();
  for (const [words, fields, code, message] of badContainers) {
    await context.test(words, async () => {
      const attempt = startContainer(bench.daemon, pod, shell(bench.image, 'true', fields));
      await assert.rejects(attempt, { code, message });
      if (code === 2) return;
      assert.deepEqual(withoutCgroups(), before);
    });
  }
  await bench.removePod(pod.id);
  assert.deepEqual(bench.holdings(), []);
});

test('pods that contradict themselves are refused', async () => {
  const host = { namespaceOptions: { network: 2, pid: 1 } };
  await assert.rejects(bench.runPod(host, {}, 'vm'), { code: invalid, message: /namespace_options\.network is NODE/ });
  const untrusted = { annotations: { 'io.kubernetes.cri.untrusted-workload': 'true' } };
  await assert.rejects(bench.runPod({ privileged: true }, untrusted, ''), {
    code: invalid,
    message: /untrusted-workload/,
  });
  await assert.rejects(bench.runPod({}, {}, 'native-none'), {
    code: invalid,
    message: /"native-none": no such handler/,
  });
  const sysctl = { linux: { securityContext: host, sysctls: { 'net.core.somaxconn': '100' } } };
  await assert.rejects(bench.runPod({}, sysctl), { code: invalid, message: /net\.core\.somaxconn/ });
  assert.deepEqual(bench.holdings(), []);
});
