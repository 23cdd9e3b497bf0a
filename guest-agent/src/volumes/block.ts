/** Volumes that are disks, which the host plugs in while the pod runs. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { HuskError } from '../../../src/base/errors.ts';
import type { BlockVolume } from '../../../src/gen/agent/v1/agent.ts';
import { op, type SysOp } from '../../../src/guest/sys-batch.ts';
import type { OciDevice } from '../../../src/oci/runtime-spec.ts';

/** The kernel looks at a new disk before it shows it. */
const plugMs = 15_000;
const pollMs = 20;
/** Words of husk-sys; everything else is the file system's own. */
const flags: ReadonlySet<string> = new Set(['ro', 'nosuid', 'nodev', 'noexec', 'noatime']);
/** What mount(8) understands itself. */
const meaningless: ReadonlySet<string> = new Set(['rw', 'defaults', '']);

/**
 * Waits for the disk with the serial and returns its device, such as `/dev/sda`.
 * @throws HuskError `not-found` when it does not come
 */
export async function diskOf(serial: string, sysBlock = '/sys/block'): Promise<string> {
  for (const end = performance.now() + plugMs; ; await sleep(pollMs)) {
    const name = readdirSync(sysBlock).find((each) => each.startsWith('sd') && serialOf(sysBlock, each) === serial);
    if (name !== undefined) return `/dev/${name}`;
    if (performance.now() > end)
      throw new HuskError('not-found', `disk "${serial.slice(0, 64)}": it did not come within ${plugMs} ms`);
  }
}

/** The unit serial number page: a header of four bytes, then the text. */
function serialOf(sysBlock: string, name: string): string {
  try {
    return readFileSync(`${sysBlock}/${name}/device/vpd_pg80`).subarray(4).toString('latin1').trim();
  } catch {
    return '';
  }
}

/** The steps that mount the file system of a disk. Its files are the tenant's: no devices, no setuid from the host's side. */
export function mountDisk(device: string, root: string, { fsType, options, readonly }: BlockVolume): SysOp[] {
  const words = [...new Set(['nodev', ...(readonly ? ['ro'] : []), ...options.filter((word) => flags.has(word))])];
  const own = options.filter((word) => !flags.has(word) && !meaningless.has(word));
  return [op('mkdir', root, String(0o755)), op('mount', device, root, fsType, words.join(','), own.join(','))];
}

/** The disk as a device node of a container. @throws HuskError `internal` */
export function deviceNode(device: string, path: string, sysBlock = '/sys/block'): OciDevice {
  const [major, minor] = readFileSync(`${sysBlock}/${device.slice('/dev/'.length)}/dev`, 'latin1')
    .trim()
    .split(':');
  return { path, type: 'b', major: Number(major), minor: Number(minor), fileMode: 0o660, uid: 0, gid: 0 };
}

const sectorBytes = 512;

/**
 * The steps after which the file system of a disk is as large as the disk has become on the host. The kernel hears of
 * that by itself, but later.
 */
export function growDisk(device: string, root: string, sysBlock = '/sys/block'): SysOp[] {
  const folder = `${sysBlock}/${device.slice('/dev/'.length)}`;
  writeFileSync(`${folder}/device/rescan`, '1');
  const bytes = Number(readFileSync(`${folder}/size`, 'latin1')) * sectorBytes;
  return [op('growfs', root, String(bytes))];
}
