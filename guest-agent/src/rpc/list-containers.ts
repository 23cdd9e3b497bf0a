import type { ListContainersResponse } from '../../../src/gen/agent/v1/agent.ts';
import type { Pod } from '../pod.ts';

/** ListContainers. Waits for the containers that are prepared in a template, so that its maker can wait for them. */
export async function listContainers(pod: Pod): Promise<ListContainersResponse> {
  await pod.prepared?.settled();
  const containers = [...pod.containers.values()].map(({ parts, state, exited }) => ({
    containerId: parts.id,
    state,
    exited,
  }));
  return { containers };
}
