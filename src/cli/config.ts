/** The daemon's settings: flags over config.toml over defaults. Read once, at start. */
import { parse } from 'smol-toml';
import { HuskError } from '../base/errors.ts';

/** One setting: its flag, its type, its default, and what it is, for `--help` and the documentation. */
interface Setting<T> {
  readonly flag: string;
  readonly value: string;
  readonly fallback: T;
  readonly help: string;
  readonly parse: (text: string) => T;
}

const text = (input: string): string => input;
const list = (input: string): string[] => input.split(',').filter((part) => part !== '');
const flag = (input: string): boolean => oneOf(['true', 'false'])(input) === 'true';
const count =
  (least: number, most: number) =>
  (input: string): number => {
    const value = Number(input);
    if (/^\d{1,12}$/.test(input) && value >= least && value <= most) return value;
    throw new HuskError('invalid-argument', `"${input}": must be a whole number from ${least} to ${most}`);
  };
const oneOf =
  <T extends string>(words: readonly T[]) =>
  (input: string): T => {
    const word = words.find((candidate) => candidate === input);
    if (word !== undefined) return word;
    throw new HuskError('invalid-argument', `"${input}": must be one of ${words.join(', ')}`);
  };

function setting<T>(flagName: string, value: string, fallback: T, parseText: (text: string) => T, help: string): Setting<T> {
  return { flag: flagName, value, fallback, help, parse: parseText };
}

/** Every setting of huskd. The names follow Frakti's where it had one. */
export const settings = {
  listen: setting('listen', 'URL', 'unix:///run/husk/husk.sock', text, 'socket that the CRI is served on'),
  rootDirectory: setting('root-directory', 'DIR', '/var/lib/husk', text, 'images, templates, records: what outlives the machine'),
  stateDirectory: setting('state-directory', 'DIR', '/run/husk', text, 'sockets: what ends with the machine'),
  guestImage: setting('guest-image', 'DIR', '/usr/lib/husk/guest-image', text, 'folder of the guest image'),
  binDirectory: setting('bin-directory', 'DIR', '/usr/lib/husk/bin', text, 'folder of the C programs'),
  cniNetDir: setting('cni-net-dir', 'DIR', '/etc/cni/net.d', text, 'folder of CNI configurations'),
  cniPluginDir: setting('cni-plugin-dir', 'DIRS', ['/opt/cni/bin', '/usr/lib/cni'], list, 'folders of CNI plugins, comma-separated'),
  registryConfigDir: setting('registry-config-dir', 'DIR', '/etc/husk/certs.d', text, 'registry mirrors: HOST/hosts.toml, as containerd has them'),
  streamingServerAddr: setting('streaming-server-addr', 'IP', '127.0.0.1', text, 'address for exec, attach and port-forward'),
  streamingServerPort: setting('streaming-server-port', 'PORT', 0, count(0, 65_535), 'its port; 0: any free one'),
  cgroupDriver: setting('cgroup-driver', 'NAME', 'cgroupfs', oneOf(['cgroupfs', 'systemd']), 'what RuntimeConfig tells the kubelet'),
  accel: setting('accel', 'NAME', 'auto', oneOf(['auto', 'kvm', 'tcg']), 'accelerator of the VMs; auto: KVM when a guest boots on it'),
  allowEmulation: setting('allow-emulation', 'BOOL', false, flag, 'run VM pods without KVM: slow, and no isolation that QEMU vouches for'),
  template: setting('template', 'BOOL', true, flag, 'clone VMs from a warm template; false: boot each one'),
  cpu: setting('cpu', 'N', 1, count(1, 64), 'virtual CPUs of a VM whose pod sets no limit'),
  memory: setting('memory', 'MIB', 512, count(256, 1_048_576), 'memory of a VM whose pod sets no limit, in MiB'),
  diskMib: setting('disk', 'MIB', 10_240, count(64, 16_777_216), "upper bound of a pod's writable disk, in MiB"),
  enablePrivilegedRuntime: setting('enable-privileged-runtime', 'BOOL', true, flag, 'allow pods that run natively on the host'),
  config: setting('config', 'FILE', '/etc/husk/config.toml', text, 'settings by their flag names; a flag wins'),
  logLevel: setting('log-level', 'LEVEL', 'info', oneOf(['debug', 'info', 'warn', 'error']), 'least important line that is logged'),
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
export function resolveConfig(flags: Readonly<Partial<Record<keyof Settings, string>>>, file: string | undefined): Config {
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
    throw new HuskError('invalid-argument', `config file, key "${unknown}": no such setting`, { hint: 'see huskd --help for the names' });
  }
  return Object.fromEntries(entries) as Config;
}

function parseFile(content: string): Map<string, string> {
  const table = checked('config file', () => parse(content));
  return new Map(
    Object.entries(table).map(([key, value]) => {
      if (Array.isArray(value)) return [key, value.join(',')];
      if (['string', 'number', 'boolean', 'bigint'].includes(typeof value)) return [key, String(value)];
      throw new HuskError('invalid-argument', `config file, key "${key}": must be a text, a number, true, false, or a list of texts`);
    }),
  );
}

function checked<T>(where: string, work: () => T): T {
  try {
    return work();
  } catch (caught) {
    const { message } = HuskError.from(caught);
    throw new HuskError('invalid-argument', `${where}: ${message}`, { cause: caught, stage: 'config' });
  }
}
