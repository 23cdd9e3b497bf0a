/** exec, attach and port-forward against pods in real virtual machines. */
import { PullImageRequest } from '../../src/gen/cri/v1/api.ts';
import { busyboxImage } from '../fixtures/oci-image.ts';
import { pushImage, startRegistry } from '../fixtures/registry.ts';
import { startDaemon } from '../helpers/daemon.ts';
import { runPod } from '../helpers/pods.ts';
import { extraFiles, streamingContract } from './streaming.contract.ts';

const image = 'docker.io/library/busybox:latest';

streamingContract(async () => {
  const registry = await startRegistry();
  await pushImage(registry, 'library/busybox:latest', busyboxImage({ extra: await extraFiles() }));
  const daemon = await startDaemon({ mirror: { to: registry.host, of: ['docker.io'] } });
  await daemon.cri.pullImage(PullImageRequest.fromPartial({ image: { image } }));
  return {
    daemon,
    image,
    pod: await runPod(daemon),
    async close() {
      await daemon.stop();
      await registry.stop();
    },
  };
});
