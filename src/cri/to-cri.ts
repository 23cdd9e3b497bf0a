/** Words of the records in the words of CRI. Pure. */

import { isDigest, isId } from '../base/ids.ts';
import { ContainerState, type ImageSpec, PodSandboxState } from '../gen/cri/v1/api.ts';
import type { ImageStore } from '../images/image-store.ts';
import { containerState, type ContainerState as DomainContainerState } from '../pod/container-state.ts';
import type { ContainerRecord } from '../pod/records.ts';
import { type SandboxPhase, sandboxState } from '../pod/sandbox-state.ts';

const containerStates: Readonly<Record<DomainContainerState, ContainerState>> = {
  created: ContainerState.CONTAINER_CREATED,
  running: ContainerState.CONTAINER_RUNNING,
  exited: ContainerState.CONTAINER_EXITED,
};

/** A pod's state on the wire. */
export function toSandboxState(phase: SandboxPhase): PodSandboxState {
  return sandboxState(phase) === 'ready' ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY;
}

/** A container's state on the wire. */
export function toContainerState(record: ContainerRecord): ContainerState {
  return containerStates[containerState(record.status)];
}

/** The state of records that a state on the wire means; undefined for UNKNOWN, which no container has. */
export function fromContainerState(state: ContainerState): DomainContainerState | undefined {
  for (const [domain, wire] of Object.entries(containerStates)) {
    if (wire === state) return domain as DomainContainerState;
  }
  return undefined;
}

/** Whether the pod's author named the image: then the store is not asked for one. */
export function hasOwnName({ imageName }: Pick<ContainerRecord, 'imageName'>): boolean {
  return !isDigest(imageName) && !isId(imageName);
}

/**
 * A container's image as people know it: kubelets ask by id, and show what is told here. The
 * name the pod's author wrote comes first, then a tag of the image, then what was asked for.
 */
export function imageSpecOf(record: ContainerRecord, images: Pick<ImageStore, 'get'>): ImageSpec {
  const name = hasOwnName(record) ? record.imageName : (images.get(record.imageId)?.repoTags[0] ?? record.imageName);
  return { image: name, annotations: {}, userSpecifiedImage: name, runtimeHandler: '', imageRef: '' };
}
