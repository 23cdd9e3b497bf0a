/** A CRI mount to the volume it is, by looking at the host. */
import type { Mount } from '../gen/cri/v1/api.ts';
import { hostFacts } from './host-facts.ts';
import { checkPropagation, type HostFacts, type VolumeKind, volumeKind } from './kinds.ts';

export interface ClassifiedMount {
  readonly mount: Mount;
  readonly volume: VolumeKind;
  readonly facts: HostFacts;
  /** The part of the volume that is mounted; empty: all of it. */
  readonly subPath: string;
}

/**
 * Looks at the mount's host path and chooses.
 * @throws HuskError `invalid-argument`, `failed-precondition`
 */
export async function classifyMount(mount: Mount): Promise<ClassifiedMount> {
  checkPropagation(mount);
  const facts = await hostFacts(mount.hostPath);
  const whole = facts.partOf && (await hostFacts(facts.partOf.path));
  // A part of a volume that has its files on the host is a folder like any other.
  if (facts.partOf === undefined || whole?.tmpfsBytes === undefined)
    return { mount, volume: volumeKind(mount, facts), facts, subPath: '' };
  const { path, subPath } = facts.partOf;
  return { mount, volume: volumeKind({ hostPath: path, readonly: mount.readonly }, whole), facts: whole, subPath };
}
