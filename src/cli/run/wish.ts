/** What `husk run` was asked for, as the configs that a kubelet would send. Pure. */
import { isIP } from 'node:net';
import { HuskError } from '../../base/errors.ts';
import { ContainerConfig, NamespaceMode, PodSandboxConfig, Protocol } from '../../gen/cri/v1/api.ts';

/** The options of `husk run`, as text from the command line. */
export interface RunOptions {
  readonly native?: boolean | undefined;
  readonly interactive?: boolean | undefined;
  readonly tty?: boolean | undefined;
  /** CPUs, fractions allowed. */
  readonly cpu?: string | undefined;
  /** `512m`, `1g`, or bytes. */
  readonly memory?: string | undefined;
  readonly volume?: readonly string[] | undefined;
  readonly publish?: readonly string[] | undefined;
  readonly env?: readonly string[] | undefined;
  readonly user?: string | undefined;
  readonly workdir?: string | undefined;
  /** `cni`, `none`, `host`. */
  readonly network?: string | undefined;
  readonly hostname?: string | undefined;
  readonly entrypoint?: string | undefined;
  readonly readOnly?: boolean | undefined;
  readonly privileged?: boolean | undefined;
}

export interface RunWish {
  readonly pod: PodSandboxConfig;
  readonly container: ContainerConfig;
  readonly runtimeHandler: 'vm' | 'native';
  /** Whether CNI plugins give the pod its network. */
  readonly plugins: boolean;
}

const cpuPeriod = 100_000;
const sharesPerCpu = 1024;
const minMemory = 4 * 1024 * 1024;
const units: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 };

/** What the command line says. */
export interface RunCommand {
  /** Names the pod; unique on the machine. */
  readonly id: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly options: RunOptions;
  /** Where `-e NAME` takes its value from. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** @throws HuskError `invalid-argument` that names the option and its value */
export function wishOf({ id, image, command, options, environment }: RunCommand): RunWish {
  const resources = resourcesOf(options);
  const privileged = options.privileged === true;
  const namespaceOptions = { pid: NamespaceMode.CONTAINER, network: networkOf(options) };
  const pod = PodSandboxConfig.fromPartial({
    metadata: { name: id, namespace: 'husk-run', uid: id, attempt: 0 },
    hostname: options.hostname ?? '',
    portMappings: (options.publish ?? []).map(portOf),
    linux: { securityContext: { privileged, namespaceOptions }, resources },
  });
  const container = ContainerConfig.fromPartial({
    metadata: { name: 'main', attempt: 0 },
    image: { image },
    ...(options.entrypoint === undefined
      ? { args: [...command] }
      : { command: [options.entrypoint], args: [...command] }),
    workingDir: options.workdir ?? '',
    envs: (options.env ?? []).map((line) => envOf(line, environment)),
    mounts: (options.volume ?? []).map(mountOf),
    stdin: options.interactive === true,
    stdinOnce: options.interactive === true,
    tty: options.tty === true,
    linux: {
      resources,
      securityContext: {
        privileged,
        namespaceOptions,
        readonlyRootfs: options.readOnly === true,
        ...userOf(options.user),
      },
    },
  });
  const runtimeHandler = options.native === true ? 'native' : 'vm';
  return { pod, container, runtimeHandler, plugins: options.network !== 'none' };
}

function networkOf({ network = 'cni', native, publish = [] }: RunOptions): NamespaceMode {
  const allowed = native === true ? ['cni', 'none', 'host'] : ['cni', 'none'];
  if (!allowed.includes(network)) throw wrong('--network', network, `one of ${allowed.join(', ')}`);
  if (network !== 'cni' && publish.length > 0) throw wrong('--publish', publish[0] ?? '', 'a pod with --network cni');
  return network === 'host' ? NamespaceMode.NODE : NamespaceMode.POD;
}

function resourcesOf({ cpu, memory }: RunOptions): object {
  return {
    ...(cpu === undefined ? {} : cpuOf(cpu)),
    ...(memory === undefined ? {} : { memoryLimitInBytes: memoryOf(memory) }),
  };
}

function cpuOf(text: string): object {
  const cpus = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || cpus < 0.01 || cpus > 1024)
    throw wrong('--cpu', text, 'a number of CPUs, such as 0.5 or 2');
  return {
    cpuPeriod: BigInt(cpuPeriod),
    cpuQuota: BigInt(Math.round(cpus * cpuPeriod)),
    cpuShares: BigInt(Math.max(2, Math.round(cpus * sharesPerCpu))),
  };
}

function memoryOf(text: string): bigint {
  const match = /^(\d{1,15})([kmg]?)i?b?$/.exec(text.toLowerCase());
  const bytes = Number(match?.[1]) * (units[match?.[2] ?? ''] ?? Number.NaN);
  if (match === null || !Number.isSafeInteger(bytes) || bytes < minMemory)
    throw wrong('--memory', text, 'at least 4m, such as 512m or 2g');
  return BigInt(bytes);
}

/** `HOST:CONTAINER[:ro|:rw]`; both absolute. */
function mountOf(text: string): object {
  const [hostPath = '', containerPath = '', access = 'rw', ...more] = text.split(':');
  const good =
    hostPath.startsWith('/') && containerPath.startsWith('/') && ['ro', 'rw'].includes(access) && more.length === 0;
  if (!good) throw wrong('--volume', text, '/HOST/PATH:/CONTAINER/PATH, then :ro for read-only');
  return { hostPath, containerPath, readonly: access === 'ro' };
}

/** `[IP:]HOST:CONTAINER[/tcp|/udp|/sctp]`. An IPv6 address stands in brackets. */
function portOf(text: string): object {
  const match = /^(?:(\[[^\]]+\]|[^:[\]]+):)?(\d{1,5}):(\d{1,5})(?:\/(tcp|udp|sctp))?$/.exec(text);
  const [, address = '', host, inside, protocol = 'tcp'] = match ?? [];
  const hostIp = address.replace(/^\[|\]$/g, '');
  const [hostPort, containerPort] = [Number(host), Number(inside)];
  const inRange = [hostPort, containerPort].every((port) => port >= 1 && port <= 65_535);
  if (match === null || !inRange || (hostIp !== '' && isIP(hostIp) === 0))
    throw wrong('--publish', text, '[IP:]HOST-PORT:PORT, then /udp or /sctp if it is not TCP');
  return {
    hostIp,
    hostPort,
    containerPort,
    protocol: { tcp: Protocol.TCP, udp: Protocol.UDP, sctp: Protocol.SCTP }[protocol],
  };
}

/** `NAME=value`, or `NAME` for the value that husk itself has. */
function envOf(
  text: string,
  environment: Readonly<Record<string, string | undefined>>,
): { key: string; value: Buffer } {
  const at = text.indexOf('=');
  const key = at < 0 ? text : text.slice(0, at);
  if (!/^[^\0=]+$/.test(key)) throw wrong('--env', text, 'NAME=value, or NAME alone');
  const value = at < 0 ? environment[key] : text.slice(at + 1);
  if (value === undefined) throw wrong('--env', text, 'NAME=value: husk itself has no such variable');
  return { key, value: Buffer.from(value) };
}

/** `UID[:GID]` or a name of the image's passwd file. */
function userOf(text: string | undefined): object {
  if (text === undefined) return {};
  const [who = '', group, ...more] = text.split(':');
  const isId = (part: string): boolean => /^\d{1,10}$/.test(part);
  if (who === '' || more.length > 0 || (group !== undefined && !isId(group)))
    throw wrong('--user', text, 'UID, UID:GID, NAME or NAME:GID');
  return {
    ...(isId(who) ? { runAsUser: { value: BigInt(who) } } : { runAsUsername: who }),
    ...(group === undefined ? {} : { runAsGroup: { value: BigInt(group) } }),
  };
}

function wrong(option: string, value: string, wanted: string): HuskError {
  return new HuskError('invalid-argument', `${option} "${value.slice(0, 200)}": wanted ${wanted}`, {
    stage: 'arguments',
  });
}
