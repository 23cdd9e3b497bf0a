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
  if (!(await nodeNames(qmp)).includes(id)) {
    await qmp.execute([{ name: 'blockdev-add', args: node }], plugTimeoutMs);
  }
  const disk = { driver: 'scsi-hd', id, bus: `${nodes.volumes}.0`, drive: id, serial: id };
  await qmp.execute([{ name: 'device_add', args: disk }], plugTimeoutMs);
  return id;
}

/** Read-only and read-write are two disks. */
function diskId({ path, readonly }: BlockDevice): string {
  const digest = createHash('sha256').update(path).digest('hex').slice(0, 24);
  return `disk-${readonly ? 'r' : 'w'}${digest}`;
}

async function names(qmp: QmpClient, path: string): Promise<string[]> {
  const [found] = await qmp.execute([{ name: 'qom-list', args: { path } }], plugTimeoutMs);
  return texts(found, 'name');
}

async function nodeNames(qmp: QmpClient): Promise<string[]> {
  const [found] = await qmp.execute([{ name: 'query-named-block-nodes', args: { flat: true } }], plugTimeoutMs);
  return texts(found, 'node-name');
}

function texts(list: unknown, field: string): string[] {
  if (!Array.isArray(list)) return [];
  return list.map((each) => asRecord(each)?.[field]).filter((text) => typeof text === 'string');
}
