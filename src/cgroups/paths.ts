/** Where a pod's cgroup lies, for cgroup v1 and v2, cgroupfs and systemd names. Pure. */

import { HuskError } from '../base/errors.ts';
import { shortId } from '../base/ids.ts';

/** The v1 hierarchies a pod joins; one that the host lacks is left out. */
export const v1Controllers: readonly string[] = ['cpu', 'cpuacct', 'memory', 'pids', 'blkio', 'freezer'];

/**
 * The cgroup of a pod below the mount of a hierarchy, e.g. `kubepods/burstable/pod1/husk-0123456789ab`.
 *
 * @param parent CRI's cgroup_parent: a path (cgroupfs) or a slice (systemd); empty means `standIn`
 * @param standIn the parent of pods that name none
 * @throws HuskError `invalid-argument` for `..` or a name that is neither
 */
export function podCgroup(parent: string, sandboxId: string, standIn = 'husk'): string {
  const folder =
    parent === '' ? standIn : parent.endsWith('.slice') ? expandSlice(parent) : parent.replace(/^\/+|\/+$/g, '');
  const parts = folder.split('/');
  if (parts.some((part) => part === '..' || part === '.' || part === '' || part.includes('\0'))) {
    throw new HuskError(
      'invalid-argument',
      `config.linux.cgroup_parent "${parent.slice(0, 200)}": not a cgroup path or slice`,
    );
  }
  return `${folder}/husk-${shortId(sandboxId)}`;
}

/**
 * The path of a systemd slice: every dash opens a level (systemd.slice(5)).
 * `a-b.slice` is `a.slice/a-b.slice`.
 */
export function expandSlice(slice: string): string {
  const name = (slice.split('/').at(-1) ?? slice).slice(0, -'.slice'.length);
  if (name === '' || name === '-') return '';
  const levels = name.split('-');
  return levels.map((_, index) => `${levels.slice(0, index + 1).join('-')}.slice`).join('/');
}
