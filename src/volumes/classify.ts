/** A CRI mount to the volume it is, by looking at the host. */
import { HuskError } from '../base/errors.ts';
import { type Device, Mount } from '../gen/cri/v1/api.ts';
import { directVolume } from './direct-volume.ts';
import { flexVolume } from './flex-volume.ts';
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
  const direct = await directClassified(mount);
  if (direct !== undefined) return direct;
  const facts = await hostFacts(mount.hostPath, 'mounts', true);
  const whole = facts.partOf && (await hostFacts(facts.partOf.path, 'mounts', false));
  // A part of a volume that has its files on the host is a folder like any other.
  if (facts.partOf === undefined || whole?.tmpfsBytes === undefined)
    return { mount, volume: volumeKind(mount, facts), facts, subPath: '' };
  const { path, subPath } = facts.partOf;
  return { mount, volume: volumeKind({ hostPath: path, readonly: mount.readonly }, whole), facts: whole, subPath };
}

/**
 * A device of the host as a volume: a disk, given as it is.
 * @throws HuskError `unimplemented` for a device of another kind
 */
export async function classifyDevice(device: Device): Promise<ClassifiedMount> {
  const { hostPath, containerPath, permissions } = device;
  const facts = await hostFacts(hostPath, 'devices', false);
  if (facts.type !== 'block')
    throw new HuskError(
      'unimplemented',
      `config.devices "${hostPath.slice(0, 200)}": a ${facts.type} of the host; VM pods have block devices only`,
      { stage: 'volumes', hint: 'run the pod with RuntimeClass handler "native"' },
    );
  const mount = Mount.fromPartial({ hostPath, containerPath, readonly: !/w/.test(permissions || 'rwm') });
  return { mount, volume: volumeKind(mount, facts), facts, subPath: '' };
}

async function directClassified(mount: Mount): Promise<ClassifiedMount | undefined> {
  const direct = (await directVolume(mount.hostPath)) ?? (await flexVolume(mount.hostPath));
  if (direct === undefined) return undefined;
  const facts = await hostFacts(direct.device, 'mounts', false);
  if (facts.type !== 'block')
    throw new HuskError(
      'failed-precondition',
      `config.mounts.host_path "${mount.hostPath.slice(0, 200)}": its device "${direct.device.slice(0, 200)}" is a ${facts.type}`,
      { stage: 'volumes' },
    );
  const { fsType, options } = direct;
  return { mount, volume: { kind: 'block', path: facts.path, fsType, options }, facts, subPath: '' };
}
