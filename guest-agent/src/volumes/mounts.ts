/** A container's volume mounts: how they stand in its spec, and the binds made for sub-paths. */
import { rmdirSync, unlinkSync } from 'node:fs';
import { posix } from 'node:path';
import { describeError, HuskError } from '../../../src/base/errors.ts';
import type { VolumeMount } from '../../../src/gen/agent/v1/agent.ts';
import { op, tryOp } from '../../../src/guest/sys-batch.ts';
import type { OciDevice, OciMount, OciResources } from '../../../src/oci/runtime-spec.ts';
import { podPlaces } from '../places.ts';
import type { Pod } from '../pod.ts';
import { deviceNode } from './block.ts';
import type { MadeVolume } from './volumes.ts';

/** What volumes add to a container's spec. */
export interface VolumeParts {
  readonly mounts: OciMount[];
  readonly devices: OciDevice[];
  readonly rules: OciResources['devices'];
}

/** Makes what the mounts need, and returns them for the spec. `releaseMounts` takes it back. */
export async function prepareMounts(pod: Pod, id: string, mounts: readonly VolumeMount[]): Promise<VolumeParts> {
  const made = mounts.map((mount) => ({ mount, volume: pod.volumes.get(mount.volumeId) }));
  const subPaths = made.filter(({ mount }) => mount.subPath !== '');
  const targets = new Map(subPaths.map(({ mount }, index) => [mount, subPathTarget(pod, id, index)]));
  for (const { mount, volume } of subPaths) await bindSubPath(pod, mount, volume, targets.get(mount) as string);
  const disks = made.filter(({ volume }) => volume.isDevice);
  const devices = disks.map(({ mount, volume }) => deviceNode(volume.source, destinationOf(mount)));
  return {
    mounts: made
      .filter(({ volume }) => !volume.isDevice)
      .map(({ mount, volume }) => {
        const oci = ociMount(mount, volume, targets.get(mount) ?? volume.source);
        return pod.ids === undefined ? oci : { ...oci, options: [...oci.options, ...lockedFlags(volume)] };
      }),
    devices,
    rules: disks.map(({ mount }, index) => {
      const { major, minor } = devices[index] as OciDevice;
      return { allow: true, access: mount.deviceAccess || (mount.readonly ? 'rm' : 'rwm'), type: 'b', major, minor };
    }),
  };
}

/** What a mount of the guest has, root of a user namespace may not take away: a bind that becomes read-only names it. */
function lockedFlags({ kind }: MadeVolume): readonly string[] {
  return kind === 'tmpfs' || kind === 'block' ? ['nodev'] : ['nosuid', 'nodev'];
}

async function bindSubPath(pod: Pod, mount: VolumeMount, volume: MadeVolume, target: string): Promise<void> {
  try {
    await pod.sys.run([op('bindat', volume.source, mount.subPath, target, mount.createSubPath ? '1' : '0')]);
  } catch (cause) {
    const isImage = volume.kind === 'image';
    const what = isImage ? 'ImageVolumeMountFailed: ' : '';
    const why = `sub-path "${mount.subPath.slice(0, 200)}": ${describeError(cause)}`;
    throw new HuskError('failed-precondition', `${what}mount "${mount.containerPath.slice(0, 200)}": ${why}`, {
      cause,
      hint: isImage
        ? 'name a file or folder that the image has, relative to its root, as the sub-path'
        : 'look at what stands at the sub-path in the volume: neither links that leave it nor devices are mounted',
    });
  }
}

/** Takes the binds away; absent ones are fine. Nothing below a bind is touched. */
export async function releaseMounts(pod: Pod, id: string, mounts: readonly VolumeMount[]): Promise<void> {
  const targets = mounts.filter(({ subPath }) => subPath !== '').map((_, index) => subPathTarget(pod, id, index));
  if (targets.length === 0) return;
  await pod.sys.run(targets.map((target) => tryOp('umount', target)));
  for (const target of targets) removeEmpty(target);
}

/** Not in the container's folder, which is removed with all that is in it. */
function subPathTarget(pod: Pod, id: string, index: number): string {
  return `${podPlaces(pod.settings).subPathsFolder}/${id}-${index}`;
}

/** A file or folder that is still mounted on is busy, and stays. */
function removeEmpty(path: string): void {
  for (const remove of [rmdirSync, unlinkSync]) {
    try {
      remove(path);
      return;
    } catch {
      // Of the other kind, gone, or busy.
    }
  }
}

function ociMount(mount: VolumeMount, volume: MadeVolume, source: string): OciMount {
  const destination = destinationOf(mount);
  // What the agent writes itself must not be changed under it by a container.
  const readonly = mount.readonly || volume.kind === 'image' || (volume.kind === 'tree' && !volume.isFile);
  const options = ['rbind', 'rprivate', readonly ? 'ro' : 'rw', ...(mount.recursiveReadonly ? ['rro'] : [])];
  return { destination, type: 'bind', source, options };
}

function destinationOf({ containerPath }: VolumeMount): string {
  const destination = posix.resolve('/', containerPath);
  if (containerPath.startsWith('/') && destination !== '/') return destination;
  throw new HuskError(
    'invalid-argument',
    `mounts "${containerPath.slice(0, 200)}": wanted an absolute path below the root`,
  );
}
