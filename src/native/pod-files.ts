/** The pod's own files and folders that its containers see. */
import { chown, mkdir, readFile, writeFile } from 'node:fs/promises';
import type { PodSandboxConfig } from '../gen/cri/v1/api.ts';
import type { PodInterface } from '../network/network.ts';
import { podHostname } from '../pod/network-wish.ts';
import type { SandboxRecord } from '../pod/records.ts';
import { resolvConf } from '../pod/resolv-conf.ts';
import type { UserNamespace } from '../pod/user-namespace.ts';
import { mount } from './mounts.ts';
import type { PodPlaces } from './places.ts';

const maxHostFileBytes = 64 * 1024;
/** As Docker and containerd have it, when the pod shares the IPC namespace of nobody. */
const shmOptions = ['nosuid', 'nodev', 'noexec', 'mode=1777', 'size=65536k'];

export interface PodMountsWish {
  readonly places: PodPlaces;
  readonly config: PodSandboxConfig;
  readonly ownIpc: boolean;
}

export interface PodFilesWish {
  readonly places: PodPlaces;
  readonly record: SandboxRecord;
  readonly config: PodSandboxConfig;
  /** Undefined when the pod has the host's network. */
  readonly podInterface: PodInterface | undefined;
  /** Whose root owns the files; undefined: that of the host. */
  readonly owner: UserNamespace | undefined;
}

/** Makes /dev/shm, where the pod has its own, and the way to the logs. */
export async function makePodMounts({ places, config, ownIpc }: PodMountsWish): Promise<void> {
  if (ownIpc) {
    await mkdir(places.shm, { mode: 0o755 });
    await mount({ type: 'tmpfs', source: 'shm', target: places.shm, options: shmOptions });
  }
  if (config.logDirectory !== '') await bindLogs(config.logDirectory, places.logs);
}

/** Writes resolv.conf, hosts and hostname, and gives what containers write to its owner. */
export async function makePodFiles(wish: PodFilesWish): Promise<void> {
  const { places, record, config, podInterface } = wish;
  const dns = podInterface?.dns ?? { nameservers: [], searches: [], options: [] };
  const hostResolvConf = await hostFile('/etc/resolv.conf');
  const hostname = podInterface === undefined ? (await hostFile('/etc/hostname')).trim() : podHostname(config, record);
  const files: readonly (readonly [path: string, content: string])[] = [
    [places.resolvConf, resolvConf(config.dnsConfig, { ...dns, servers: dns.nameservers }, hostResolvConf)],
    [places.hostname, `${hostname}\n`],
    [places.hosts, podInterface === undefined ? await hostFile('/etc/hosts') : hostsFile(hostname, podInterface)],
  ];
  for (const [path, content] of files) await writeFile(path, content, { mode: 0o644 });
  if (wish.owner !== undefined) {
    const { uids, gids } = wish.owner;
    const own = [...files.map(([path]) => path), places.shm];
    for (const path of own) await chown(path, uids.hostId, gids.hostId);
  }
}

/**
 * conmon opens logs by path, as root. Beneath this mount the kernel follows no link
 * (mount(8), nosymfollow), so a link that somebody puts there leads nowhere (CVE-2025-0750).
 */
async function bindLogs(logDirectory: string, target: string): Promise<void> {
  await mkdir(logDirectory, { recursive: true, mode: 0o755 });
  await mkdir(target, { mode: 0o700 });
  await mount({ source: logDirectory, target, options: ['bind', 'nosymfollow', 'nodev', 'nosuid', 'noexec'] });
}

/** The pod's /etc/hosts where the kubelet gives none. Pure. */
export function hostsFile(hostname: string, { addresses }: Pick<PodInterface, 'addresses'>): string {
  return [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    ...addresses.map((address) => `${address.split('/', 1)[0]}\t${hostname}`),
    '',
  ].join('\n');
}

async function hostFile(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.slice(0, maxHostFileBytes);
}
