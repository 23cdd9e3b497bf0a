/** Joins a pod's volumes with its VM and its agent. */
import type { Agent } from '../agent/agent.ts';
import { describeError, HuskError } from '../base/errors.ts';
import type { Mount } from '../gen/cri/v1/api.ts';
import type { Vm } from '../hypervisor/hypervisor.ts';
import type { Image } from '../pod/image-view.ts';
import { PodVolumes } from '../volumes/pod-volumes.ts';
import { volumeId } from '../volumes/wire.ts';
import type { VmRuntimeOptions } from './options.ts';

/** The volumes of a pod that runs. */
export function vmVolumes(options: VmRuntimeOptions, id: string, { vm, agent }: { vm: Vm; agent: Agent }): PodVolumes {
  return new PodVolumes({
    put: (volume) => agent.putVolume({ volume }, { timeoutMs: options.deadlines.agentCallMs }),
    attachImage: async (mount, image) => attachImage(vm, mount, image),
    failed: (path, caught) =>
      options.log.warn({ sandbox: id, path, error: describeError(caught) }, 'a volume does not follow the host'),
  });
}

async function attachImage(vm: Vm, mount: Mount, image: Image | undefined): ReturnType<ImageAttach> {
  const where = `ImageVolumeMountFailed: config.mounts "${mount.containerPath.slice(0, 200)}"`;
  if (image === undefined) throw new HuskError('internal', `${where}: its image was not looked up`);
  try {
    const ranges = await vm.attachLayers(image.layers);
    const layers = ranges.map((range) => ({
      offsetBytes: BigInt(range.offsetBytes),
      sizeBytes: BigInt(range.sizeBytes),
    }));
    return { id: volumeId('image', image.id), layers };
  } catch (caught) {
    const error = HuskError.from(caught, 'volumes');
    throw new HuskError(error.kind, `${where}: ${error.message}`, { cause: error, stage: 'volumes' });
  }
}
type ImageAttach = ConstructorParameters<typeof PodVolumes>[0]['attachImage'];
