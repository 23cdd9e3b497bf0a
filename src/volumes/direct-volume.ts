/** Volumes whose disk is mounted in the guest: what a CSI driver writes down for Kata Containers. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HuskError, isErrno } from '../base/errors.ts';
import { asList, asObject, asString } from '../base/shape.ts';

/** A file system on a disk of the host. */
export interface DirectVolume {
  readonly device: string;
  readonly fsType: string;
  readonly options: readonly string[];
}

/** Kata Containers: docs/design/direct-blk-device-assignment.md. */
const root = '/run/kata-containers/shared/direct-volumes';
export const maxVolumeFileBytes = 65_536;
/** What the guest image has drivers for. */
const fileSystems: ReadonlySet<string> = new Set(['ext4', 'xfs']);

/**
 * The volume that was assigned to this path of the host, if one was: `<root>/<base64url of the path>/mountInfo.json`,
 * which only root can write.
 *
 * @throws HuskError `failed-precondition` when it says what cannot be
 */
export async function directVolume(hostPath: string, folder = root): Promise<DirectVolume | undefined> {
  const name = Buffer.from(hostPath).toString('base64').replaceAll('+', '-').replaceAll('/', '_');
  // A path whose name is too long for a file was never assigned.
  if (name.length > 255) return undefined;
  const path = join(folder, name, 'mountInfo.json');
  const text = await readFile(path, 'utf8').catch((caught: unknown) => {
    if (isErrno(caught, 'ENOENT') || isErrno(caught, 'ENOTDIR')) return undefined;
    throw caught;
  });
  return text === undefined ? undefined : parseMountInfo(text, path);
}

/** @throws HuskError `failed-precondition` */
export function parseMountInfo(text: string, path: string): DirectVolume {
  return fromVolumeFile(text, path, (info) => {
    const type = asString(info['volume-type'], 'volume-type');
    const fsType = mountable(asString(info['fstype'], 'fstype'));
    if (type !== 'block') throw new HuskError('invalid-argument', `volume-type "${type.slice(0, 40)}": wanted "block"`);
    const options = info['options'] === undefined ? [] : asList(info['options'], 'options', asString);
    return { device: asString(info['device'], 'device'), fsType, options };
  });
}

/**
 * Reads a file that says which disk a volume is.
 * @throws HuskError `failed-precondition` with the file's path when `read` fails or there is no object in it
 */
export function fromVolumeFile(
  text: string,
  path: string,
  read: (info: Readonly<Record<string, unknown>>) => DirectVolume,
): DirectVolume {
  try {
    if (text.length > maxVolumeFileBytes)
      throw new HuskError('invalid-argument', `${text.length} characters, at most ${maxVolumeFileBytes}`);
    return read(asObject(JSON.parse(text), 'file'));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new HuskError('failed-precondition', `volume file "${path.slice(0, 300)}": ${why}`, {
      cause,
      stage: 'volumes',
    });
  }
}

/** The file system's type. @throws HuskError `invalid-argument` when no guest can mount it */
export function mountable(fsType: string): string {
  if (fileSystems.has(fsType)) return fsType;
  throw new HuskError('invalid-argument', `fstype "${fsType.slice(0, 40)}": wanted ${[...fileSystems].join(' or ')}`);
}
