/** Command, environment, working directory, terminals, limits, sysctls, namespaces. */
import { hostname } from 'node:os';
import { asBase, type CompatCase, resources, type SpecChange, security } from '../case.ts';
import { probeScript } from '../probe.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);
const own = { linux: { securityContext: { namespaceOptions: { pid: 1 } } } };
const proc = (name: string, container: object, reference: SpecChange, more: object = {}): CompatCase => ({
  group: 'Process',
  name,
  container: { ...own, ...container },
  reference,
  ...more,
});
const env =
  (...lines: string[]): SpecChange =>
  (spec) => {
    spec.process.env.push(...lines);
  };
const cwd =
  (path: string): SpecChange =>
  (spec) => {
    spec.process.cwd = path;
  };

export const processes: readonly CompatCase[] = [
  proc(
    'environment',
    {
      envs: [
        { key: 'A', value: bytes('1') },
        { key: 'B', value: bytes('two words') },
      ],
    },
    env('A=1', 'B=two words'),
  ),
  proc('an empty value', { envs: [{ key: 'EMPTY', value: bytes('') }] }, env('EMPTY=')),
  proc(
    'a value with =, $ and quotes',
    { envs: [{ key: 'ODD', value: bytes('a=b $HOME "x"') }] },
    env('ODD=a=b $HOME "x"'),
  ),
  proc('PATH of the pod', { envs: [{ key: 'PATH', value: bytes('/bin') }] }, (spec) => {
    spec.process.env = ['PATH=/bin', 'HOSTNAME=compat'];
  }),
  proc('working directory', { workingDir: '/tmp' }, cwd('/tmp')),
  proc('a working directory that does not exist', { workingDir: '/made/for/it' }, cwd('/made/for/it')),
  proc('the image’s working directory', {}, cwd('/home'), { image: 'workdir' }),
  proc('command and args', { command: ['/bin/sh'], args: ['-c', probeScript] }, asBase),
  proc('a terminal', { tty: true }, (spec) => {
    spec.process.terminal = true;
    spec.process.env.push('TERM=xterm');
  }),
  proc('standard input left open', { stdin: true }, asBase),
];

const limit = (name: string, fields: object, reference: SpecChange): CompatCase => ({
  group: 'Resources',
  name,
  container: resources(fields),
  reference,
});

export const limits: readonly CompatCase[] = [
  limit('memory', { memoryLimitInBytes: 67_108_864n }, (spec) => {
    spec.linux.resources.memory = { limit: 67_108_864 };
  }),
  limit('cpu quota', { cpuQuota: 50_000n, cpuPeriod: 100_000n }, (spec) => {
    spec.linux.resources.cpu = { quota: 50_000, period: 100_000 };
  }),
  limit('cpu shares', { cpuShares: 512n }, (spec) => {
    spec.linux.resources.cpu = { shares: 512 };
  }),
  limit('cpu set', { cpusetCpus: '0' }, (spec) => {
    spec.linux.resources.cpu = { cpus: '0' };
  }),
  limit('oom_score_adj', { oomScoreAdj: 500n }, (spec) => {
    spec.process.oomScoreAdj = 500;
  }),
  limit('oom_score_adj, the largest', { oomScoreAdj: 1000n }, (spec) => {
    spec.process.oomScoreAdj = 1000;
  }),
];

const sysctl = (key: string, value: string): CompatCase => ({
  group: 'Sysctls',
  name: `${key} = ${value}`,
  container: own,
  pod: { linux: { sysctls: { [key]: value }, securityContext: { namespaceOptions: { pid: 1 } } } },
  reference: (spec) => {
    spec.linux.sysctl = { [key]: value };
  },
});

export const sysctls: readonly CompatCase[] = [
  sysctl('kernel.shm_rmid_forced', '1'),
  sysctl('fs.mqueue.msg_max', '20'),
  sysctl('net.ipv4.ip_unprivileged_port_start', '0'),
  sysctl('net.ipv4.ping_group_range', '0 2147483647'),
];

const host = 'a virtual machine has no namespace of the host';
const namespace = (name: string, options: object, reference: SpecChange, more: object = {}): CompatCase => ({
  group: 'Namespaces',
  name,
  container: security({ namespaceOptions: { pid: 1, ...options } }),
  pod: { linux: { securityContext: { namespaceOptions: { pid: 1, ...options } } } },
  reference,
  ...more,
});
const drop =
  (type: string): SpecChange =>
  (spec) => {
    spec.linux.namespaces = spec.linux.namespaces.filter((each) => each.type !== type);
  };

const onNodeNetwork: SpecChange = (spec) => {
  drop('network')(spec);
  drop('uts')(spec);
  spec.hostname = '';
  spec.process.env = spec.process.env.map((line) => (line.startsWith('HOSTNAME=') ? `HOSTNAME=${hostname()}` : line));
};

export const namespaces: readonly CompatCase[] = [
  // The kubelet's pods on the node's network have the node's name, too.
  namespace('network of the node', { network: 2 }, onNodeNetwork, { notFor: { vm: host } }),
  namespace('processes of the node', { pid: 2 }, drop('pid'), { notFor: { vm: host } }),
  namespace('IPC of the node', { ipc: 2 }, drop('ipc'), { notFor: { vm: host } }),
];
