import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKind } from '../../base/errors.ts';
import { ContainerConfig, NamespaceMode, PodSandboxConfig } from '../../gen/cri/v1/api.ts';
import { show } from './check.ts';
import { checkContainerConfig, checkWords } from './container-config.ts';
import * as bad from './corpus.ts';
import { checkSandboxConfig } from './sandbox-config.ts';

/** Field on the wire, where it is in the message, values. */
type Row = readonly [field: string, place: string, values: readonly unknown[]];

const podRows: readonly Row[] = [
  ['config.metadata.name', 'metadata.name', bad.badNames],
  ['config.metadata.namespace', 'metadata.namespace', bad.badNames],
  ['config.metadata.uid', 'metadata.uid', bad.badNames],
  ['config.hostname', 'hostname', bad.badHostnames],
  ['config.log_directory', 'logDirectory', bad.badPaths],
  ['config.dns_config.servers[0]', 'dnsConfig.servers.0', bad.badIps],
  ['config.dns_config.searches[0]', 'dnsConfig.searches.0', ['', 'a b', 'a;b', 'a\nnameserver 6.6.6.6']],
  ['config.dns_config.options[0]', 'dnsConfig.options.0', ['', 'a b', 'ndots:5\nx', '$x']],
  ['config.port_mappings[0].container_port', 'portMappings.0.containerPort', bad.badPorts],
  ['config.port_mappings[0].host_port', 'portMappings.0.hostPort', [-1, 65_536]],
  ['config.port_mappings[0].protocol', 'portMappings.0.protocol', [-1, 3, 99]],
  ['config.port_mappings[0].host_ip', 'portMappings.0.hostIp', bad.badIps.slice(1)],
  ['config.labels', 'labels', [{ '': 'x' }, { 'a\nb': 'x' }, { a: 'x\ny' }, { a: 'x\0' }, { a: 'x'.repeat(5000) }]],
  ['config.annotations', 'annotations', [{ '': 'x' }, { 'a\nb': 'x' }, { a: 'x'.repeat(600_000) }, manyEntries(5000)]],
  ['config.labels', 'labels', [manyEntries(1025)]],
  ['config.linux.cgroup_parent', 'linux.cgroupParent', bad.badCgroups],
  ['config.linux.sysctls', 'linux.sysctls', bad.badSysctls.map((name) => ({ [name]: '1' }))],
  ['config.linux.sysctls', 'linux.sysctls', bad.badSysctlValues.map((value) => ({ 'net.core.somaxconn': value }))],
  ['config.linux.security_context.run_as_user.value', 'linux.securityContext.runAsUser', bad.badIds.map(boxed)],
  ['config.linux.security_context.run_as_group.value', 'linux.securityContext.runAsGroup', [boxed(1n)]],
  ['config.linux.security_context.supplemental_groups[0]', 'linux.securityContext.supplementalGroups.0', bad.badIds],
  [
    'config.linux.security_context.supplemental_groups_policy',
    'linux.securityContext.supplementalGroupsPolicy',
    [-1, 2],
  ],
  [
    'config.linux.security_context.namespace_options.network',
    'linux.securityContext.namespaceOptions.network',
    [-1, 3, 4],
  ],
  ['config.linux.security_context.namespace_options.pid', 'linux.securityContext.namespaceOptions.pid', bad.badEnums],
  ['config.linux.security_context.namespace_options.ipc', 'linux.securityContext.namespaceOptions.ipc', bad.badEnums],
  ['config.linux.security_context.seccomp', 'linux.securityContext.seccomp', profiles(bad.badPaths)],
  ['config.linux.security_context.apparmor', 'linux.securityContext.apparmor', profiles(['', 'a b', 'a\nb', '$x'])],
  ['config.linux.resources.cpu_period', 'linux.resources.cpuPeriod', [-1n, 1n, 999n, 1_000_001n]],
  ['config.linux.resources.cpu_quota', 'linux.resources.cpuQuota', [-2n, 1n, 999n]],
  ['config.linux.resources.cpu_shares', 'linux.resources.cpuShares', [-1n, 262_145n]],
  ['config.linux.resources.memory_limit_in_bytes', 'linux.resources.memoryLimitInBytes', [-1n]],
  ['config.linux.overhead.memory_limit_in_bytes', 'linux.overhead.memoryLimitInBytes', [-1n]],
  ['config.linux.resources.oom_score_adj', 'linux.resources.oomScoreAdj', [-1001n, 1001n]],
  ['config.linux.resources.cpuset_cpus', 'linux.resources.cpusetCpus', ['a', '0-', '0;1', '0\n', '../x']],
];

const security = 'config.linux.security_context';
const containerRows: readonly Row[] = [
  ['config.metadata.name', 'metadata.name', ['', 'a/b', '../x', 'a\nb', 'a\0', 'x'.repeat(254)]],
  ['config.image.image', 'image.image', ['', 'a b', 'a\nb', 'x'.repeat(2000)]],
  ['config.command[0]', 'command.0', ['a\0b']],
  ['config.args[0]', 'args.0', ['a\0b']],
  ['config.working_dir', 'workingDir', bad.badPaths],
  ['config.envs[0].key', 'envs.0.key', ['', 'A=B', 'A\nB', 'A\0B', 'x'.repeat(5000)]],
  ['config.envs[0].value', 'envs.0.value', [Buffer.from('a\0b')]],
  ['config.envs[0].value', 'envs.0', [{ key: 'HOME', value: Buffer.from('/x\nroot::0:0::/:/bin/sh') }]],
  ['config.mounts[0].container_path', 'mounts.0.containerPath', ['', ...bad.badPaths]],
  ['config.mounts[0].host_path', 'mounts.0.hostPath', ['', ...bad.badPaths]],
  ['config.mounts[0].propagation', 'mounts.0.propagation', [-1, 3]],
  ['config.mounts[0].image_sub_path', 'mounts.0.imageSubPath', ['x', ...bad.badRelativePaths]],
  ['config.mounts[0].recursive_read_only', 'mounts.0.recursiveReadOnly', [true]],
  ['config.devices[0].host_path', 'devices.0.hostPath', ['', ...bad.badPaths]],
  ['config.devices[0].permissions', 'devices.0.permissions', ['x', 'rwmr', 'r w']],
  ['config.CDI_devices[0].name', 'CDIDevices.0.name', ['', 'gpu', 'a/b', 'a/b=', '../a/b=c', 'a/b=c\n']],
  ['config.log_path', 'logPath', bad.badRelativePaths],
  ['config.labels', 'labels', [manyEntries(1025), { a: 'x\ny' }]],
  [`${security}.run_as_user.value`, 'linux.securityContext.runAsUser', bad.badIds.map(boxed)],
  [`${security}.run_as_group.value`, 'linux.securityContext.runAsGroup', [boxed(0n)]],
  [`${security}.run_as_username`, 'linux.securityContext.runAsUsername', bad.badUserNames],
  [
    `${security}.capabilities.add_capabilities[0]`,
    'linux.securityContext.capabilities.addCapabilities.0',
    ['', 'A B', 'A,B', 'A\n'],
  ],
  [`${security}.masked_paths[0]`, 'linux.securityContext.maskedPaths.0', ['', ...bad.badPaths]],
  [`${security}.readonly_paths[0]`, 'linux.securityContext.readonlyPaths.0', ['', ...bad.badPaths]],
  [`${security}.selinux_options.type`, 'linux.securityContext.selinuxOptions.type', ['a b', 'a\n', '$x']],
  [
    'config.linux.resources.unified',
    'linux.resources.unified',
    [{ '../x': '1' }, { memory: '1' }, { 'memory.max': 'a\0' }],
  ],
  [
    'config.linux.resources.hugepage_limits[0].page_size',
    'linux.resources.hugepageLimits.0.pageSize',
    ['', '2', '../2MB', '2MB\n'],
  ],
  ['config.stop_signal', 'stopSignal', [-1, 66, 99]],
];

function pod(): PodSandboxConfig {
  const config = PodSandboxConfig.fromPartial({
    metadata: { name: 'web-0', namespace: 'default', uid: '7a1f', attempt: 3 },
    hostname: 'web-0.example',
    logDirectory: '/var/log/pods/x',
    dnsConfig: { servers: ['10.0.0.10', 'fd00::a'], searches: ['svc.cluster.local', '.'], options: ['ndots:5'] },
    portMappings: [{ protocol: 0, containerPort: 80, hostPort: 8080, hostIp: '127.0.0.1' }],
    labels: { app: 'web', empty: '' },
    annotations: { json: '{\n\t"a": 1\n}' },
    linux: {
      cgroupParent: '/kubepods.slice/kubepods-burstable-pod7a\\x2d1f.slice',
      sysctls: {
        'net.ipv4.ip_local_port_range': '1024\t65535',
        'kernel.shm_rmid_forced': '1',
        'fs/mqueue/msg_max': '9',
      },
      securityContext: {
        namespaceOptions: { pid: NamespaceMode.POD },
        supplementalGroups: [10n],
        seccomp: { profileType: 0 },
      },
      resources: { cpuPeriod: 100_000n, cpuQuota: -1n, cpuShares: 2n, memoryLimitInBytes: 1n, oomScoreAdj: -998n },
      overhead: { memoryLimitInBytes: 1n },
    },
  });
  return config;
}

function container(): ContainerConfig {
  return ContainerConfig.fromPartial({
    metadata: { name: 'app', attempt: 0 },
    image: { image: 'registry.example:5000/a/b@sha256:00' },
    command: ['sh', '-c', 'echo a;\necho b'],
    args: [''],
    workingDir: '/srv/app',
    envs: [{ key: 'CERT', value: Buffer.from('line\nline\xff', 'latin1') }],
    mounts: [{ containerPath: '/data', hostPath: '/var/lib/x', propagation: 0 }],
    devices: [{ containerPath: '/dev/fuse', hostPath: '/dev/fuse', permissions: 'rwm' }],
    CDIDevices: [{ name: 'vendor.com/gpu=0' }],
    logPath: 'app/0.log',
    linux: {
      resources: {
        unified: { 'memory.high': '1' },
        hugepageLimits: [{ pageSize: '2MB', limit: 0n }],
        cpusetCpus: '0-1,3',
      },
      securityContext: {
        capabilities: { addCapabilities: ['ALL'], dropCapabilities: ['CAP_NET_RAW'] },
        runAsGroup: undefined,
        maskedPaths: ['/proc/kcore'],
        readonlyPaths: ['/proc/sys'],
        selinuxOptions: { level: 's0:c1,c2' },
        namespaceOptions: { pid: NamespaceMode.CONTAINER },
      },
    },
    stopSignal: 65,
  });
}

test('configs such as kubelets send are taken as they are', () => {
  assert.ok(checkSandboxConfig(pod()));
  assert.ok(checkContainerConfig(container()));
});

test('every bad value of a pod is refused with its field', () => {
  let values = 0;
  for (const row of podRows) values += refusesAll(row, pod, checkSandboxConfig);
  assert.ok(values >= 150, `${values} values`);
});

test('every bad value of a container is refused with its field', () => {
  let values = 0;
  for (const row of containerRows) values += refusesAll(row, container, checkContainerConfig);
  assert.ok(values >= 100, `${values} values`);
});

test('what is missing is refused by name', () => {
  for (const [check, config] of [
    [checkSandboxConfig, undefined],
    [checkSandboxConfig, { ...pod(), metadata: undefined }],
    [checkSandboxConfig, { ...pod(), windows: { securityContext: undefined } }],
    [checkContainerConfig, undefined],
    [checkContainerConfig, { ...container(), metadata: undefined }],
    [checkContainerConfig, { ...container(), image: undefined }],
    [checkContainerConfig, { ...container(), windows: { resources: undefined, securityContext: undefined } }],
  ] as readonly [(config: never) => unknown, unknown][]) {
    assert.throws(
      () => check(config as never),
      (error) => isKind(error, 'invalid-argument'),
    );
  }
});

test('a user namespace has one mapping of uids and one of gids, or is the host\u2019s and has none', () => {
  const mapping = (hostId: number, containerId: number, length: number): object => ({ hostId, containerId, length });
  const sane = [mapping(65_536, 0, 65_536)];
  const { POD, NODE, CONTAINER, TARGET } = NamespaceMode;
  const check = (mode: number, uids: object[], gids: object[]): void => {
    const config = pod();
    put(config, 'linux.securityContext.namespaceOptions.usernsOptions', { mode, uids, gids });
    checkSandboxConfig(config);
  };
  check(POD, sane, sane);
  check(NODE, [], []);
  const shared = pod();
  put(shared, 'linux.securityContext.namespaceOptions.usernsOptions', { mode: POD, uids: sane, gids: sane });
  put(shared, 'linux.securityContext.namespaceOptions.network', NODE);
  assert.throws(() => checkSandboxConfig(shared), /userns_options.mode "POD": wanted NODE with network NODE/);
  for (const [mode, uids, gids, why] of [
    [POD, [], [], /uids "0 mappings": wanted 1/],
    [POD, sane, [], /gids "0 mappings": wanted 1/],
    [POD, [...sane, ...sane], sane, /uids "2 mappings": wanted 1/],
    [NODE, sane, sane, /uids "1 mappings": wanted 0/],
    [CONTAINER, [], [], /userns_options.mode "CONTAINER"/],
    [TARGET, [], [], /userns_options.mode "TARGET"/],
    [POD, [mapping(1000, 1, 10)], sane, /uids\[0\].container_id "1"/],
    [POD, [mapping(0, 0, 10)], sane, /uids\[0\].host_id "0"/],
    [POD, sane, [mapping(1000, 0, 0)], /gids\[0\].length "0"/],
    [POD, sane, [mapping(2_147_483_000, 0, 65_536)], /gids\[0\].length "65536"/],
  ] as const) {
    assert.throws(() => check(mode, [...uids], [...gids]), why);
  }
});

test('sysctls of a namespace that is the host\u2019s are refused', () => {
  const config = pod();
  put(config, 'linux.securityContext.namespaceOptions.network', NamespaceMode.NODE);
  assert.throws(() => checkSandboxConfig(config), /shares the network of the host/);
  const ipc = pod();
  put(ipc, 'linux.securityContext.namespaceOptions.ipc', NamespaceMode.NODE);
  assert.throws(() => checkSandboxConfig(ipc), /shares the IPC namespace of the host/);
});

test('a command as a whole is bounded', () => {
  assert.throws(
    () =>
      checkWords(
        'cmd',
        Array.from({ length: 20_000 }, () => 'a'),
      ),
    /cmd: 20000 entries/,
  );
  assert.throws(() => checkWords('cmd', ['x'.repeat(3_000_000)]), /cmd: 3000000 characters/);
});

test('a value in a message is escaped and short', () => {
  assert.equal(show('a\n\u001b"'), '"a\\n\\u001b\\""');
  assert.ok(show('x'.repeat(100_000)).length < 120);
});

function refusesAll<T>(row: Row, make: () => T, check: (config: T) => unknown): number {
  const [field, place, values] = row;
  for (const value of values) {
    const config = make();
    put(config, place, value);
    const what = `${field} = ${show(value)}`;
    try {
      check(config);
    } catch (caught) {
      assert.ok(isKind(caught, 'invalid-argument') && caught instanceof Error, what);
      assert.ok(caught.message.startsWith(field), `${what}: ${caught.message}`);
      assert.ok(caught.message.length < 600, what);
      assert.ok(
        caught.message.split('').every((char) => char >= ' ' && char !== '\u007f'),
        what,
      );
      continue;
    }
    assert.fail(`${what}: taken`);
  }
  return values.length;
}

/** Sets a place of a message, making what is missing on the way. */
function put(message: unknown, place: string, value: unknown): void {
  const keys = place.split('.');
  const last = keys.pop() ?? '';
  let at = message as Record<string, unknown>;
  for (const key of keys) at = (at[key] ??= {}) as Record<string, unknown>;
  at[last] = value;
}

function boxed(value: bigint): { readonly value: bigint } {
  return { value };
}

function profiles(references: readonly string[]): unknown[] {
  const local = references.map((localhostRef) => ({ profileType: 2, localhostRef }));
  return [...local, { profileType: 3, localhostRef: '' }, { profileType: 0, localhostRef: '/x' }];
}

function manyEntries(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, 'v']));
}
