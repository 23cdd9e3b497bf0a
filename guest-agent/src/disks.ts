/** Finds the guest's disks by the serials that the host gave them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HuskError } from '../../src/base/errors.ts';

/**
 * The device of the virtio-blk disk with the serial, e.g. `/dev/vdb`.
 * Only sysfs is read: the disk itself must not be opened before the clone has its own.
 *
 * @throws HuskError `not-found`
 */
export function findDisk(serial: string, sysBlock = '/sys/block'): string {
  for (const name of readdirSync(sysBlock)) {
    if (name.startsWith('vd') && readSerial(join(sysBlock, name, 'serial')) === serial) return `/dev/${name}`;
  }
  throw new HuskError('not-found', `find the disk with the serial "${serial}": no virtio disk in "${sysBlock}" has it`);
}

function readSerial(path: string): string {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return '';
  }
}
