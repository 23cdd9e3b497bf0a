/**
 * The batch of system calls that gives a clone its identity. Pure: text in, system calls out.
 *
 * The gateway sends it along with the link's handshake, and the relay has it run before a byte reaches
 * the agent (docs/adr/0061). The agent runs the same batch when it is asked for ConfigureSandbox.
 */
import { HuskError } from '../base/errors.ts';
import { linkLocal } from '../base/link-local.ts';
import type { ConfigureSandboxRequest, NetworkInterface, UserNamespace } from '../gen/agent/v1/agent.ts';
import { op, type SysOp } from './sys-batch.ts';

/** Where things are in the guest. */
export interface PodPlaces {
  readonly shmFolder: string;
  readonly bootIdFile: string;
  readonly etcDir: string;
  /** Written last: says that the batch ran, and what the agent must know of it (`ConfiguredPod`). */
  readonly configuredFile: string;
}

/** Places of the guest image, for who is not in the guest. */
export const guestPlaces: PodPlaces = {
  shmFolder: '/run/husk/shm',
  bootIdFile: '/run/husk/boot_id',
  etcDir: '/run/etc',
  configuredFile: '/run/husk/configured',
};

/** The guest's one network device in every template: `net.ifnames=0`. */
export const guestNic = 'eth0';

/** What the agent must know of a batch that it did not run. */
export interface ConfiguredPod {
  readonly resolvConf: boolean;
  readonly sharedPid: boolean;
  /** Absent: containers are in the guest's own user namespace. */
  readonly userNamespace?: UserNamespace | undefined;
}

/** Bytes that come back from the batch's `random`. */
export const randomSampleBytes = 32;
const minEntropyBytes = 32;
const maxEntropyBytes = 256;
/** What PID 1 makes /dev/shm of the pod and the interface with (guest-agent/c/init.c). */
const firstShmBytes = 64n * 1024n * 1024n;
const firstMtu = 1500;

/**
 * The system calls of ConfigureSandbox, entropy first: nothing may draw random numbers before.
 *
 * @param nic name of the pod's interface as the guest has it now
 * @throws HuskError `invalid-argument` with the field's name
 */
export function configureBatch(request: ConfigureSandboxRequest, places: PodPlaces, nic: string | undefined): SysOp[] {
  checkIdentity(request);
  const { etcDir } = places;
  const configured: ConfiguredPod = {
    resolvConf: request.resolvConf !== '',
    sharedPid: request.sharedPidNamespace,
    userNamespace: request.userNamespace,
  };
  const shm = request.shmSizeBytes > 0n ? request.shmSizeBytes : firstShmBytes;
  return [
    op('entropy', Buffer.from(request.entropy).toString('hex')),
    ...(request.wallClockNs > 0n ? [op('clock', String(request.wallClockNs))] : []),
    op('hostname', request.hostname),
    op('write', `${etcDir}/hostname`, mode(0o644), `${request.hostname}\n`),
    op('write', `${etcDir}/machine-id`, mode(0o444), `${request.machineId}\n`),
    op('write', `${etcDir}/hosts`, mode(0o644), `127.0.0.1 localhost\n::1 localhost\n`),
    op('write', places.bootIdFile, mode(0o444), `${request.bootId}\n`),
    ...(request.resolvConf === '' ? [] : [op('write', `${etcDir}/resolv.conf`, mode(0o644), request.resolvConf)]),
    ...interfaceOps(request.interface, nic),
    ...Object.entries(request.sysctls).map(([key, value]) => op('write', sysctlPath(key), mode(0o644), value)),
    ...(shm === firstShmBytes
      ? []
      : [op('mount', 'shm', places.shmFolder, 'tmpfs', 'remount,nosuid,nodev,noexec', `mode=1777,size=${shm}`)]),
    ...ownerOps(request, places),
    op('write', places.configuredFile, mode(0o600), JSON.stringify(configured)),
    op('random', String(randomSampleBytes)),
  ];
}

/** What containers share belongs to root of their user namespace. */
function ownerOps({ userNamespace, resolvConf }: ConfigureSandboxRequest, { etcDir, shmFolder }: PodPlaces): SysOp[] {
  const { uids, gids } = userNamespace ?? {};
  if (uids === undefined || gids === undefined) return [];
  const files = ['hostname', ...(resolvConf === '' ? [] : ['resolv.conf'])].map((name) => `${etcDir}/${name}`);
  return [shmFolder, ...files].map((path) => op('chown', path, String(uids.hostId), String(gids.hostId)));
}

function interfaceOps(wanted: NetworkInterface | undefined, nic: string | undefined): SysOp[] {
  if (wanted === undefined) return [];
  if (nic === undefined)
    throw new HuskError('failed-precondition', `interface "${wanted.name}": the guest has no network device`);
  const { name, mac, mtu, addresses, routes } = wanted;
  checkInterfaceName(name);
  if (nic !== name)
    throw new HuskError('failed-precondition', `interface "${name}": the guest's network device is "${nic}"`);
  const onLink = routes.filter(({ gateway }) => gateway === '');
  const throughGateway = routes.filter(({ gateway }) => gateway !== '');
  return [
    // It is up already, without addresses: PID 1 has seen to that (docs/adr/0061).
    op('ifmac', name, mac),
    ...(mtu === firstMtu ? [] : [op('ifmtu', name, String(mtu))]),
    ...addresses.map((address) => op('addr', name, address)),
    ...(addresses.some(isIpv6) ? [op('addr', name, `${linkLocal(mac)}/64`)] : []),
    // Gateways can be reachable only through a route on the link.
    ...[...onLink, ...throughGateway].map(({ destination, gateway }) => op('route', name, destination, gateway)),
  ];
}

function isIpv6(address: string): boolean {
  return address.includes(':');
}

function checkIdentity(request: ConfigureSandboxRequest): void {
  const { entropy, bootId, machineId, hostname, resolvConf } = request;
  if (entropy.length < minEntropyBytes || entropy.length > maxEntropyBytes) {
    throw invalid('entropy', `${entropy.length} bytes`, `${minEntropyBytes} to ${maxEntropyBytes} bytes`);
  }
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(bootId)) throw invalid('boot_id', bootId, 'a UUID');
  if (!/^[0-9a-f]{32}$/.test(machineId)) throw invalid('machine_id', machineId, '32 hex digits');
  if (!/^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,62}[a-zA-Z0-9])?$/.test(hostname))
    throw invalid('hostname', hostname, 'a host name of at most 64 characters');
  if (resolvConf.includes('\0')) throw invalid('resolv_conf', '…', 'text without NUL');
}

/** A name that is also safe as a part of a path. */
function checkInterfaceName(name: string): void {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9._-]{0,14}$/.test(name)) throw invalid('interface.name', name, 'an interface name');
}

/**
 * The file of a sysctl: dots separate its parts, or slashes do (sysctl(8)).
 * @throws HuskError `invalid-argument`
 */
export function sysctlPath(key: string): string {
  const parts = key.includes('/') ? key.split('/') : key.split('.');
  const plain = parts.length > 1 && parts.every((part) => /^[a-zA-Z0-9_][a-zA-Z0-9_.-]*$/.test(part));
  if (!plain) throw invalid('sysctls', key, 'a key such as "net.core.somaxconn"');
  return `/proc/sys/${parts.join('/')}`;
}

function mode(bits: number): string {
  return String(bits);
}

function invalid(field: string, value: string, wanted: string): HuskError {
  return new HuskError('invalid-argument', `${field} "${value.slice(0, 200)}": wanted ${wanted}`);
}
