/** The daemon's settings: flags over config.toml over defaults. Read once, at start. */
import { parse } from 'smol-toml';
import { HuskError } from '../base/errors.ts';
import { count, flag, handlerPaths, oneOf, path, paths, socketFolder, text } from './setting-values.ts';

/** One setting: its flag, its type, its default, and what it is, for `--help` and the documentation. */
interface Setting<T> {
  readonly flag: string;
  readonly value: string;
  readonly fallback: T;
  readonly help: string;
  readonly parse: (text: string) => T;
}

/** Lets `parse` decide the type, so that a choice of words stays one. */
function setting<T>(known: Omit<Setting<T>, 'fallback'> & { readonly fallback: NoInfer<T> }): Setting<T> {
  return known;
}

/** Every setting of huskd. The names follow Frakti's where it had one. */
export const settings = {
  listen: setting({
    flag: 'listen',
    value: 'URL',
    parse: text,
    fallback: 'unix:///run/husk/husk.sock',
    help: 'socket that the CRI is served on',
  }),
  rootDirectory: setting({
    flag: 'root-directory',
    value: 'DIR',
    parse: path,
    fallback: '/var/lib/husk',
    help: 'images, templates, records: what outlives the machine',
  }),
  stateDirectory: setting({
    flag: 'state-directory',
    value: 'DIR',
    parse: socketFolder,
    fallback: '/run/husk',
    help: 'sockets: what ends with the machine',
  }),
  guestImage: setting({
    flag: 'guest-image',
    value: 'DIR',
    parse: path,
    fallback: '/usr/lib/husk/guest-image',
    help: 'folder of the guest image',
  }),
  binDirectory: setting({
    flag: 'bin-directory',
    value: 'DIR',
    parse: path,
    fallback: '/usr/lib/husk/bin',
    help: "folder of husk's programs",
  }),
  cniNetDir: setting({
    flag: 'cni-net-dir',
    value: 'DIR',
    parse: path,
    fallback: '/etc/cni/net.d',
    help: 'folder of CNI configurations',
  }),
  cniPluginDir: setting({
    flag: 'cni-plugin-dir',
    value: 'DIRS',
    parse: paths,
    fallback: ['/opt/cni/bin', '/usr/lib/cni'],
    help: 'folders of CNI plugins, comma-separated',
  }),
  registryConfigDir: setting({
    flag: 'registry-config-dir',
    value: 'DIR',
    parse: path,
    fallback: '/etc/husk/certs.d',
    help: 'registry mirrors: HOST/hosts.toml, as containerd has them',
  }),
  streamingServerAddr: setting({
    flag: 'streaming-server-addr',
    value: 'IP',
    parse: text,
    fallback: '127.0.0.1',
    help: 'address for exec, attach and port-forward',
  }),
  streamingServerPort: setting({
    flag: 'streaming-server-port',
    value: 'PORT',
    parse: count(0, 65_535),
    fallback: 0,
    help: 'its port; 0: any free one',
  }),
  streamingServerTlsCert: setting({
    flag: 'streaming-server-tls-cert',
    value: 'FILE',
    parse: text,
    fallback: '',
    help: 'its certificate in PEM; with the key: HTTPS',
  }),
  streamingServerTlsKey: setting({
    flag: 'streaming-server-tls-key',
    value: 'FILE',
    parse: text,
    fallback: '',
    help: "its certificate's key in PEM",
  }),
  cgroupDriver: setting({
    flag: 'cgroup-driver',
    value: 'NAME',
    parse: oneOf(['cgroupfs', 'systemd']),
    fallback: 'cgroupfs',
    help: 'what RuntimeConfig tells the kubelet',
  }),
  accel: setting({
    flag: 'accel',
    value: 'NAME',
    parse: oneOf(['auto', 'kvm', 'tcg']),
    fallback: 'auto',
    help: 'accelerator of the VMs; auto: KVM when a guest boots on it',
  }),
  allowEmulation: setting({
    flag: 'allow-emulation',
    value: 'BOOL',
    parse: flag,
    fallback: false,
    help: 'run VM pods without KVM: slow, and no isolation that QEMU vouches for',
  }),
  template: setting({
    flag: 'template',
    value: 'BOOL',
    parse: flag,
    fallback: true,
    help: 'clone VMs from a warm template; false: boot each one',
  }),
  cpu: setting({
    flag: 'cpu',
    value: 'N',
    parse: count(1, 64),
    fallback: 1,
    help: 'virtual CPUs of a VM whose pod sets no limit',
  }),
  memory: setting({
    flag: 'memory',
    value: 'MIB',
    parse: count(256, 1_048_576),
    fallback: 512,
    help: 'memory of a VM whose pod sets no limit, in MiB',
  }),
  diskMib: setting({
    flag: 'disk',
    value: 'MIB',
    parse: count(64, 16_777_216),
    fallback: 10_240,
    help: "upper bound of a pod's writable disk, in MiB",
  }),
  enablePrivilegedRuntime: setting({
    flag: 'enable-privileged-runtime',
    value: 'BOOL',
    parse: flag,
    fallback: true,
    help: 'allow pods that run natively on the host',
  }),
  runtimes: setting({
    flag: 'runtimes',
    value: 'LIST',
    parse: handlerPaths,
    fallback: { native: '/usr/sbin/runc' },
    help: 'OCI runtimes by native handler, NAME=FILE comma-separated; in the file: [runtimes.NAME] path = "FILE"',
  }),
  conmon: setting({
    flag: 'conmon',
    value: 'FILE',
    parse: text,
    fallback: '/usr/bin/conmon',
    help: 'monitor of the containers of native pods',
  }),
  policyFile: setting({
    flag: 'policy-file',
    value: 'FILE',
    parse: text,
    fallback: '/etc/husk/policy.toml',
    help: 'which pods may run natively; without it all that ask',
  }),
  config: setting({
    flag: 'config',
    value: 'FILE',
    parse: text,
    fallback: '/etc/husk/config.toml',
    help: 'settings by their flag names; a flag wins',
  }),
  metricsAddress: setting({
    flag: 'metrics-address',
    value: 'IP:PORT',
    parse: text,
    fallback: '',
    help: 'address of loopback that GET /metrics is served on, for Prometheus; empty: none',
  }),
  tracingEndpoint: setting({
    flag: 'tracing-endpoint',
    value: 'URL',
    parse: text,
    fallback: '',
    help: 'OpenTelemetry collector that traces are sent to, http://HOST:4318/v1/traces; empty: none',
  }),
  logLevel: setting({
    flag: 'log-level',
    value: 'LEVEL',
    parse: oneOf(['debug', 'info', 'warn', 'error']),
    fallback: 'info',
    help: 'least important line that is logged',
  }),
} as const;

type Settings = typeof settings;
export type Config = { readonly [K in keyof Settings]: ReturnType<Settings[K]['parse']> };

/**
 * Joins flags, file and defaults.
 *
 * @param flags text by setting; absent: not given
 * @param file the text of config.toml; undefined: there is none
 * @throws HuskError `invalid-argument` that names the flag or the key of the file
 */
export function resolveConfig(
  flags: Readonly<Partial<Record<keyof Settings, string>>>,
  file: string | undefined,
): Config {
  const fromFile = file === undefined ? new Map<string, string>() : parseFile(file);
  const entries = Object.entries(settings).map(([key, known]) => {
    const given = flags[key as keyof Settings];
    const inFile = fromFile.get(known.flag);
    fromFile.delete(known.flag);
    if (given !== undefined) return [key, checked(`--${known.flag}`, () => known.parse(given))];
    if (inFile !== undefined) return [key, checked(`config file, key "${known.flag}"`, () => known.parse(inFile))];
    return [key, known.fallback];
  });
  const [unknown] = fromFile.keys();
  if (unknown !== undefined) {
    throw new HuskError('invalid-argument', `config file, key "${unknown}": no such setting`, {
      hint: 'see huskd --help for the names',
    });
  }
  return Object.fromEntries(entries) as Config;
}

function parseFile(content: string): Map<string, string> {
  const table = checked('config file', () => parse(content));
  return new Map(
    Object.entries(withRuntimes(table)).map(([key, value]) => {
      if (Array.isArray(value) && value.every((part) => typeof part === 'string')) return [key, value.join(',')];
      if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
        return [key, `${value}`];
      throw new HuskError(
        'invalid-argument',
        `config file, key "${key}": must be a text, a number, true, false, or a list of texts`,
      );
    }),
  );
}

/** `[runtimes.NAME] path = "FILE"` as the flag has it. */
function withRuntimes({ runtimes, ...table }: Record<string, unknown>): Record<string, unknown> {
  if (typeof runtimes !== 'object' || runtimes === null || Array.isArray(runtimes)) {
    return runtimes === undefined ? table : { ...table, runtimes };
  }
  const pairs = Object.entries(runtimes).map(([name, value]: [string, unknown]) => {
    const keys = typeof value === 'object' && value !== null ? Object.entries(value) : [];
    const [only, ...more] = keys;
    if (only?.[0] === 'path' && typeof only[1] === 'string' && more.length === 0) return `${name}=${only[1]}`;
    throw new HuskError('invalid-argument', `config file, key "runtimes.${name}": must hold "path" and nothing else`);
  });
  return { ...table, runtimes: pairs.join(',') };
}

function checked<T>(where: string, work: () => T): T {
  try {
    return work();
  } catch (caught) {
    const { message } = HuskError.from(caught);
    throw new HuskError('invalid-argument', `${where}: ${message}`, { cause: caught, stage: 'config' });
  }
}
