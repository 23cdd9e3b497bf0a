/** Plugs block devices of the host into a running VM as disks. */
import { createHash } from 'node:crypto';
import { HuskError } from '../../base/errors.ts';
import { sendDisk } from '../../jail/sendfd.ts';
import type { BlockDevice } from '../hypervisor.ts';
import { nodes } from './argv.ts';
import type { QmpClient } from './qmp-client.ts';
import { asRecord } from './qmp-codec.ts';

export interface VolumeDisksOptions {
  readonly sendfd: string;
  readonly fdSocket: string;
}

const plugTimeoutMs = 20_000;
/** One target of the SCSI bus each (QEMU: virtio-scsi has 256). */
const maxDisks = 200;

/**
 * Plugs the device in, once however often it is asked for. QEMU itself knows what is there, so that
 * nothing is kept for the next daemon.
 *
 * @returns the disk's serial
 * @throws HuskError `resource-exhausted` beyond 200 disks, `internal`
 */
export async function plugDisk(
  qmp: QmpClient,
  { sendfd, fdSocket }: VolumeDisksOptions,
  device: BlockDevice,
  signal?: AbortSignal,
): Promise<string> {
  const id = diskId(device);
  const plugged = await names(qmp, '/machine/peripheral');
  if (plugged.includes(id)) return id;
  if (plugged.filter((name) => name.startsWith('disk-')).length >= maxDisks)
    throw new HuskError('resource-exhausted', `plug in "${device.path.slice(0, 200)}": the VM has ${maxDisks} disks`);
  const set = await sendDisk(sendfd, fdSocket, device, signal);
  const file = { driver: 'host_device', filename: `/dev/fdset/${set}`, locking: 'off' };
  const node = { driver: 'raw', 'node-name': id, 'read-only': device.readonly, file };
  // A daemon that was killed in between left the node without its disk.
  if (!(await blockNodes(qmp)).some((each) => each['node-name'] === id)) {
    await qmp.execute([{ name: 'blockdev-add', args: node }], plugTimeoutMs);
  }
  const disk = { driver: 'scsi-hd', id, bus: `${nodes.volumes}.0`, drive: id, serial: id };
  await qmp.execute([{ name: 'device_add', args: disk }], plugTimeoutMs);
  return id;
}

/**
 * Lets the guest see that the device behind a disk has another size by now.
 * @returns the size that the disk had in bytes
 * @throws HuskError `not-found` without such a disk, `internal`
 */
export async function resizeDisk(qmp: QmpClient, serial: string, sizeBytes: number): Promise<number> {
  const node = (await blockNodes(qmp)).find((each) => each['node-name'] === serial);
  const had = asRecord(node?.['image'])?.['virtual-size'];
  if (typeof had !== 'number') throw new HuskError('not-found', `resize disk "${serial}": the VM has none`);
  if (had !== sizeBytes) {
    const args = { 'node-name': serial, size: sizeBytes };
    await qmp.execute([{ name: 'block_resize', args }], plugTimeoutMs);
  }
  return had;
}

/** Read-only and read-write are two disks. */
function diskId({ path, readonly }: BlockDevice): string {
  const digest = createHash('sha256').update(path).digest('hex').slice(0, 24);
  return `disk-${readonly ? 'r' : 'w'}${digest}`;
}

async function names(qmp: QmpClient, path: string): Promise<string[]> {
  const [found] = await qmp.execute([{ name: 'qom-list', args: { path } }], plugTimeoutMs);
  if (!Array.isArray(found)) return [];
  return found.map((each) => asRecord(each)?.['name']).filter((text) => typeof text === 'string');
}

async function blockNodes(qmp: QmpClient): Promise<Readonly<Record<string, unknown>>[]> {
  const [found] = await qmp.execute([{ name: 'query-named-block-nodes', args: { flat: true } }], plugTimeoutMs);
  return Array.isArray(found) ? found.map((each) => asRecord(each) ?? {}) : [];
}
