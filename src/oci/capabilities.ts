/** Linux capabilities of a container (capabilities(7)), from CRI's add and drop lists. */
import { HuskError } from '../base/errors.ts';
import type { OciCapabilities } from './runtime-spec.ts';

/** Every capability of Linux 6.1, in the order of their numbers. */
export const allCapabilities: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_DAC_READ_SEARCH',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETPCAP',
  'CAP_LINUX_IMMUTABLE',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_BROADCAST',
  'CAP_NET_ADMIN',
  'CAP_NET_RAW',
  'CAP_IPC_LOCK',
  'CAP_IPC_OWNER',
  'CAP_SYS_MODULE',
  'CAP_SYS_RAWIO',
  'CAP_SYS_CHROOT',
  'CAP_SYS_PTRACE',
  'CAP_SYS_PACCT',
  'CAP_SYS_ADMIN',
  'CAP_SYS_BOOT',
  'CAP_SYS_NICE',
  'CAP_SYS_RESOURCE',
  'CAP_SYS_TIME',
  'CAP_SYS_TTY_CONFIG',
  'CAP_MKNOD',
  'CAP_LEASE',
  'CAP_AUDIT_WRITE',
  'CAP_AUDIT_CONTROL',
  'CAP_SETFCAP',
  'CAP_MAC_OVERRIDE',
  'CAP_MAC_ADMIN',
  'CAP_SYSLOG',
  'CAP_WAKE_ALARM',
  'CAP_BLOCK_SUSPEND',
  'CAP_AUDIT_READ',
  'CAP_PERFMON',
  'CAP_BPF',
  'CAP_CHECKPOINT_RESTORE',
];

/** What a container has when nothing is asked for: the set users know from Docker and containerd. */
export const defaultCapabilities: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FSETID',
  'CAP_FOWNER',
  'CAP_MKNOD',
  'CAP_NET_RAW',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETFCAP',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_SYS_CHROOT',
  'CAP_KILL',
  'CAP_AUDIT_WRITE',
];

/**
 * Applies CRI's lists: `ALL` first, then single names; drop wins over the default, add over drop of `ALL`.
 *
 * @throws HuskError `invalid-argument` for an unknown name
 */
export function resolveCapabilities(add: readonly string[], drop: readonly string[]): string[] {
  const added = add.map((name) => normalise(name, 'add_capabilities'));
  const dropped = drop.map((name) => normalise(name, 'drop_capabilities'));
  const start = added.includes('ALL') ? allCapabilities : dropped.includes('ALL') ? [] : defaultCapabilities;
  const result = new Set(start);
  for (const name of added) if (name !== 'ALL') result.add(name);
  for (const name of dropped) if (name !== 'ALL') result.delete(name);
  return allCapabilities.filter((name) => result.has(name));
}

/** The five sets: inheritable and ambient stay empty (CVE-2022-24769), but for what CRI asks as ambient. */
export function capabilitySets(names: readonly string[], ambient: readonly string[] = []): OciCapabilities {
  const asked = ambient
    .map((name) => normalise(name, 'add_ambient_capabilities'))
    .filter((name) => names.includes(name));
  return {
    bounding: [...names],
    effective: [...names],
    permitted: [...names],
    inheritable: [...asked],
    ambient: [...asked],
  };
}

function normalise(name: string, field: string): string {
  const upper = name.toUpperCase();
  if (upper === 'ALL') return 'ALL';
  const full = upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  if (!allCapabilities.includes(full)) {
    throw new HuskError('invalid-argument', `capabilities.${field} "${name.slice(0, 64)}": no such Linux capability`);
  }
  return full;
}
