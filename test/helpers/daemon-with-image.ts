/** What most tests begin with: a registry with one image, and a daemon that has pulled it. */
import { PullImageRequest } from '../../src/gen/cri/v1/api.ts';
import { busyboxImage } from '../fixtures/oci-image.ts';
import { pushImage, startRegistry } from '../fixtures/registry.ts';
import { type Daemon, startDaemon } from './daemon.ts';

export interface DaemonWithImage {
  readonly daemon: Daemon;
  /** Stops both. */
  readonly close: () => Promise<void>;
}

/**
 * @param repository as in `library/busybox`; the image's name for the daemon is `docker.io/REPOSITORY:latest`
 */
export async function startDaemonWithImage(
  content: Parameters<typeof pushImage>[2] = busyboxImage(),
  repository = 'library/busybox',
): Promise<DaemonWithImage> {
  const registry = await startRegistry();
  try {
    await pushImage(registry, `${repository}:latest`, content);
    const daemon = await startDaemon({ mirror: { to: registry.host, of: ['docker.io'] } });
    const close = async (): Promise<void> => {
      try {
        await daemon.stop();
      } finally {
        await registry.stop();
      }
    };
    try {
      const image = { image: `docker.io/${repository}:latest` };
      await daemon.cri.pullImage(PullImageRequest.fromPartial({ image }));
      return { daemon, close };
    } catch (caught) {
      await daemon.stop();
      throw caught;
    }
  } catch (caught) {
    await registry.stop();
    throw caught;
  }
}
