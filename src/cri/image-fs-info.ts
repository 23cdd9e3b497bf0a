import type { FilesystemUsage, ImageFsInfoResponse } from '../gen/cri/v1/api.ts';
import type { CriContext } from './context.ts';

/** ImageFsInfo: clients refuse to start without it. Writable layers lie on the same file system. */
export async function imageFsInfo({
  images,
  clock,
}: Pick<CriContext, 'images' | 'clock'>): Promise<ImageFsInfoResponse> {
  const { mountpoint, usedBytes, inodesUsed } = await images.usage();
  const usage: FilesystemUsage = {
    timestamp: clock.wallNs(),
    fsId: { mountpoint },
    usedBytes: { value: BigInt(usedBytes) },
    inodesUsed: { value: BigInt(inodesUsed) },
  };
  return { imageFilesystems: [usage], containerFilesystems: [usage] };
}
