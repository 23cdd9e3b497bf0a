/** Devices of the host in a native container. */
import { lstat, readdir, realpath } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { HuskError } from '../base/errors.ts';
import type { Device } from '../gen/cri/v1/api.ts';
import type { OciDevice, OciResources } from '../oci/runtime-spec.ts';

export interface DeviceList {
  readonly devices: readonly OciDevice[];
  readonly rules: OciResources['devices'];
}

/** Folders of /dev that a container has of its own, and what is no device of the host. */
const ownNames: ReadonlySet<string> = new Set([
  'pts',
  'shm',
  'fd',
  'mqueue',
  'console',
  '.lxc',
  '.lxd-mounts',
  '.udev',
]);
const maxDevices = 4096;

/**
 * The devices asked for. A folder stands for every device in it.
 * @throws HuskError `invalid-argument` when one does not exist or is no device
 */
export async function askedDevices(wishes: readonly Device[]): Promise<DeviceList> {
  const devices: OciDevice[] = [];
  const rules: OciResources['devices'] = [];
  for (const [index, wish] of wishes.entries()) {
    const found = await devicesAt(wish.hostPath, posix.resolve('/', wish.containerPath));
    if (found.length === 0) {
      throw new HuskError(
        'invalid-argument',
        `config.devices[${index}].host_path "${wish.hostPath.slice(0, 200)}": no device there`,
      );
    }
    devices.push(...found);
    const access = wish.permissions === '' ? 'rwm' : wish.permissions;
    for (const { type, major, minor } of found) rules.push({ allow: true, access, type, major, minor });
  }
  return { devices, rules };
}

/** Every device of the host, for privileged containers. */
export async function hostDevices(): Promise<readonly OciDevice[]> {
  return devicesAt('/dev', '/dev');
}

async function devicesAt(hostPath: string, containerPath: string): Promise<OciDevice[]> {
  const found: OciDevice[] = [];
  // What was named may be a link; a link found in a folder is another name of what is there anyway.
  const start = await realpath(hostPath).catch(() => undefined);
  if (start === undefined) return [];
  const queue = [{ hostPath: start, containerPath }];
  for (let next = queue.shift(); next !== undefined && found.length < maxDevices; next = queue.shift()) {
    const at = next;
    const stats = await lstat(at.hostPath).catch(() => undefined);
    if (stats === undefined) continue;
    if (stats.isDirectory()) {
      const names = (await readdir(at.hostPath)).filter((name) => !ownNames.has(name));
      queue.push(
        ...names.map((name) => ({ hostPath: join(at.hostPath, name), containerPath: join(at.containerPath, name) })),
      );
    } else if (stats.isBlockDevice() || stats.isCharacterDevice()) {
      found.push({
        path: at.containerPath,
        type: stats.isBlockDevice() ? 'b' : 'c',
        ...splitDevice(stats.rdev),
        fileMode: stats.mode & 0o777,
        uid: stats.uid,
        gid: stats.gid,
      });
    }
  }
  return found;
}

/** The halves of a device number (makedev(3), glibc's layout for 64 bits). Pure. */
export function splitDevice(rdev: number): { major: number; minor: number } {
  const device = BigInt(rdev);
  return {
    major: Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xffff_f000n)),
    minor: Number((device & 0xffn) | ((device >> 12n) & 0xffff_ff00n)),
  };
}
