/** What a pod's writable disk is made from: a sparse file with an empty ext4. */
import { open, rename, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { HuskError } from '../../base/errors.ts';
import { run } from '../../base/exec.ts';
import { diskCapacityBytes } from './argv.ts';

const toolTimeoutMs = 60_000;
const minDiskBytes = 16 * 1024 * 1024;

/**
 * The file system that a pod's disk starts as a sparse copy of (the jail makes it): formatted once
 * for its size. The copy is as long as the capacity that every guest sees; the jail's limit on file
 * size keeps writes within `bytes`.
 *
 * @param folder keeps the formatted files
 * @throws HuskError `invalid-argument` for a size out of range
 */
export async function formattedDisk(folder: string, bytes: number, signal?: AbortSignal): Promise<string> {
  if (!Number.isSafeInteger(bytes) || bytes < minDiskBytes || bytes > diskCapacityBytes || bytes % 4096 !== 0) {
    throw new HuskError(
      'invalid-argument',
      `make a disk of ${bytes} bytes: want 16 MiB to 1 TiB in whole 4 KiB blocks`,
    );
  }
  const path = join(folder, `ext4-${bytes}.img`);
  if (
    await stat(path).then(
      () => true,
      () => false,
    )
  )
    return path;
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await (await open(temporary, 'w', 0o600)).close();
    await truncate(temporary, bytes);
    // No journal: what is on the disk does not outlive the VM. A sparse file is zero already, so the
    // inode tables count as written, and the guest's kernel has nothing to initialise later.
    const features = ['-O', '^has_journal,^resize_inode', '-E', 'assume_storage_prezeroed=1,lazy_itable_init=0'];
    const args = ['-q', '-F', '-m', '0', ...features, temporary];
    await run('mkfs.ext4', args, { timeoutMs: toolTimeoutMs, signal, stage: 'data-disk' });
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
  return path;
}

/** The sparse file that holes of the layers disk are read from. */
export async function zeroFile(folder: string): Promise<string> {
  const path = join(folder, 'zero.img');
  await (await open(path, 'a', 0o444)).close();
  await truncate(path, diskCapacityBytes);
  return path;
}
