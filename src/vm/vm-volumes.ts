/** Joins a pod's volumes with its VM, its agent and its file server. */
import { join } from 'node:path';
import type { Agent } from '../agent/agent.ts';
import { describeError, HuskError } from '../base/errors.ts';
import { type Mount, PodSandboxConfig } from '../gen/cri/v1/api.ts';
import { shareSocketName, type Vm } from '../hypervisor/hypervisor.ts';
import type { Image } from '../pod/image-view.ts';
import type { SandboxRecord } from '../pod/records.ts';
import { PodVolumes, type VolumeHost } from '../volumes/pod-volumes.ts';
import { ShareServer, type ShareServerSpec } from '../volumes/share-server.ts';
import type { LivePod } from './live-pod.ts';
import type { VmRuntimeOptions } from './options.ts';
import { podFolders } from './pod-places.ts';

interface Parts {
  readonly vm: Vm;
  readonly agent: Agent;
  /** Of an earlier daemon. */
  readonly server?: ShareServer | undefined;
}

/** The volumes of a pod that runs. */
export function vmVolumes(
  options: VmRuntimeOptions,
  record: SandboxRecord,
  { vm, agent, server }: Parts,
): Pick<LivePod, 'volumes' | 'shareLost'> {
  const lost = Promise.withResolvers<string>();
  const watched = (found: ShareServer): ShareServer => {
    void found.exited.then((how) => lost.resolve(`the file server of its volumes ended: ${how}`));
    return found;
  };
  let running = server && Promise.resolve(watched(server));
  const volumes = new PodVolumes({
    podUid: configOf(record).metadata?.uid ?? '',
    put: (volume) => agent.putVolume({ volume }, { timeoutMs: options.deadlines.agentCallMs }),
    attachImage: (mount, image) => attachImage(vm, mount, image),
    attachBlock: (path, readonly) => vm.attachBlock({ path, readonly }),
    resizeBlock: (serial, sizeBytes) => vm.resizeBlock(serial, sizeBytes),
    share: async (share) => {
      running ??= ShareServer.start(shareSpec(options, record)).then(watched);
      // One that could not be started is tried again by the next container.
      running.catch(() => (running = undefined));
      return (await running).add(share);
    },
    failed: (path, caught) =>
      options.log.warn({ sandbox: record.id, path, error: describeError(caught) }, 'a volume does not follow the host'),
  });
  return { volumes, shareLost: lost.promise };
}

/** Where the pod's file server is, or would be. */
export function shareSpec(options: VmRuntimeOptions, record: SandboxRecord): ShareServerSpec {
  const { state: stateFolder } = podFolders(options, record.id);
  const parent = configOf(record).linux?.cgroupParent ?? '';
  return {
    program: options.shareProgram,
    socket: join(stateFolder, shareSocketName),
    stateFolder,
    cgroupPaths: options.cgroups.paths(parent, record.id),
    onDeath: () => options.log.warn({ sandbox: record.id }, 'the file server of its volumes died; another goes on'),
  };
}

function configOf({ configBase64 }: SandboxRecord): PodSandboxConfig {
  return PodSandboxConfig.decode(Buffer.from(configBase64, 'base64'));
}

async function attachImage(vm: Vm, mount: Mount, image: Image | undefined): ReturnType<VolumeHost['attachImage']> {
  const where = `ImageVolumeMountFailed: config.mounts "${mount.containerPath.slice(0, 200)}"`;
  if (image === undefined) throw new HuskError('internal', `${where}: its image was not looked up`);
  try {
    const ranges = await vm.attachLayers(image.layers);
    const layers = ranges.map((range) => ({
      offsetBytes: BigInt(range.offsetBytes),
      sizeBytes: BigInt(range.sizeBytes),
    }));
    return { imageId: image.id, layers };
  } catch (caught) {
    const error = HuskError.from(caught, 'volumes');
    throw new HuskError(error.kind, `${where}: ${error.message}`, { cause: error, stage: 'volumes' });
  }
}
