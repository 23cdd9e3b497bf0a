import { type ContainerEventResponse, ContainerEventType, PodSandboxConfig } from '../gen/cri/v1/api.ts';
import type { PodEvent, PodEventKind } from '../pod/engine/pod-events.ts';
import { containerStatusOf } from './container-status.ts';
import type { CriContext } from './context.ts';
import { sandboxStatusOf } from './sandbox-status.ts';

const types: Readonly<Record<PodEventKind, ContainerEventType>> = {
  created: ContainerEventType.CONTAINER_CREATED_EVENT,
  started: ContainerEventType.CONTAINER_STARTED_EVENT,
  stopped: ContainerEventType.CONTAINER_STOPPED_EVENT,
  deleted: ContainerEventType.CONTAINER_DELETED_EVENT,
};

/** GetContainerEvents: what happens to pods and containers from now on. A pod's own events carry its id. */
export async function* getContainerEvents(
  { engine, images }: Pick<CriContext, 'engine' | 'images'>,
  signal: AbortSignal,
): AsyncGenerator<ContainerEventResponse> {
  for await (const event of engine.events.listen(signal)) yield responseOf(event, images);
}

function responseOf(
  { kind, id, atNs, sandbox, containers }: PodEvent,
  images: CriContext['images'],
): ContainerEventResponse {
  return {
    containerId: id,
    containerEventType: types[kind],
    createdAt: atNs,
    podSandboxStatus:
      sandbox && sandboxStatusOf(sandbox, PodSandboxConfig.decode(Buffer.from(sandbox.configBase64, 'base64'))),
    containersStatuses: containers.map((container) => containerStatusOf(container, images)),
  };
}
