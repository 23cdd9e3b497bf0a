/** Volumes of Frakti's flexvolume drivers: a file in the volume's folder names the disk that the guest mounts. */
import { constants } from 'node:fs';
import { open, readFile, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { HuskError, isErrno } from '../base/errors.ts';
import { asObject, asString } from '../base/shape.ts';
import { type DirectVolume, fromVolumeFile, maxVolumeFileBytes, mountable } from './direct-volume.ts';
import { mountAt, parseMountTable } from './mount-table.ts';

const fileName = 'hyper-flexvolume.json';
/** The kubelet's folder of a flexvolume: `VENDOR~DRIVER`. Its own plugins are of the vendor `kubernetes.io`. */
const flexFolder = /\/pods\/[^/]+\/volumes\/(?!kubernetes\.io~)[^/~]+~[^/~]+\/[^/]+$/;
/** Where the kernel's RBD driver and udev show an image that is mapped (ceph: udev/50-rbd.rules). */
const mappedImages = '/dev/rbd';

/**
 * The disk of a volume that one of Frakti's drivers for Cinder, GCE PD or Ceph has prepared (frakti:
 * pkg/flexvolume/metadata.go), if it is one.
 *
 * The folder may be reached by containers in other kinds of volumes, so the file counts only where the kubelet alone
 * could write: in a flexvolume's folder on which nothing is mounted, owned by root.
 *
 * @throws HuskError `failed-precondition` when it says what cannot be
 */
export async function flexVolume(hostPath: string, owner = 0): Promise<DirectVolume | undefined> {
  if (!flexFolder.test(hostPath)) return undefined;
  const path = join(hostPath, fileName);
  const text = await readOwn(path, owner).catch((caught: unknown) => {
    if (isErrno(caught, 'ENOENT') || isErrno(caught, 'ENOTDIR')) return undefined;
    throw caught;
  });
  return text === undefined ? undefined : parseFlexVolume(text, path);
}

/** Undefined when something is mounted on the folder: what is in it is the volume's, then. */
async function readOwn(path: string, owner: number): Promise<string | undefined> {
  const folder = await realpath(dirname(path));
  if (mountAt(parseMountTable(await readFile('/proc/self/mountinfo', 'utf8')), folder) !== undefined) return undefined;
  await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  const { uid, size } = await file.stat();
  if (uid !== owner || (await stat(folder)).uid !== owner) throw refused(path, 'it or its folder is not root’s');
  if (size > maxVolumeFileBytes) throw refused(path, `${size} bytes, at most ${maxVolumeFileBytes}`);
  return file.readFile('utf8');
}

function refused(path: string, why: string): HuskError {
  return new HuskError('failed-precondition', `volume file "${path.slice(0, 300)}": ${why}`, { stage: 'volumes' });
}

/** @throws HuskError `failed-precondition` */
export function parseFlexVolume(text: string, path: string): DirectVolume {
  return fromVolumeFile(text, path, (info) => {
    const { gCEPDOptsData: disk, cinderVolumeOptsData: cinder, cephRBDOptsData: ceph } = info;
    if (disk !== undefined) return diskAt(asObject(disk, 'gCEPDOptsData'), (has) => has('devicePath'));
    if (cinder !== undefined) {
      const volume = asObject(cinder, 'cinderVolumeOptsData');
      if (volume['volume_type'] !== 'rbd') throw new HuskError('invalid-argument', 'volume_type: wanted "rbd"');
      return diskAt(volume, (has) => mapped(has('name')));
    }
    if (ceph !== undefined)
      return diskAt(asObject(ceph, 'cephRBDOptsData'), (has) => mapped(`${has('pool')}/${has('volumeID')}`));
    throw new HuskError('invalid-argument', 'wanted gCEPDOptsData, cinderVolumeOptsData or cephRBDOptsData');
  });
}

function diskAt(
  volume: Readonly<Record<string, unknown>>,
  deviceOf: (has: (field: string) => string) => string,
): DirectVolume {
  const has = (field: string): string => asString(volume[field], field);
  return { device: deviceOf(has), fsType: mountable(has('fsType')), options: [] };
}

/** No VM reaches Ceph itself: the host maps the image, `rbd map POOL/IMAGE`. */
function mapped(name: string): string {
  if (/^[\w][\w.-]*\/[\w][\w.-]*$/.test(name)) return `${mappedImages}/${name}`;
  throw new HuskError('invalid-argument', `image "${name.slice(0, 100)}": wanted POOL/IMAGE`);
}
