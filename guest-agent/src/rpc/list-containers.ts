import type { ListContainersResponse } from '../../../src/gen/agent/v1/agent.ts';
import type { Pod } from '../pod.ts';

/** ListContainers. */
export function listContainers(pod: Pod): ListContainersResponse {
  const containers = [...pod.containers.values()].map(({ parts, state, exited }) => ({
    containerId: parts.id,
    state,
    exited,
  }));
  return { containers };
}
