import { processDetails } from '../../../src/cgroups/process-details.ts';
import { readUseV2 } from '../../../src/cgroups/use-v2.ts';
import type { ContainerUse, StatsRequest, StatsResponse } from '../../../src/gen/agent/v1/agent.ts';
import type { Container } from '../container.ts';
import { containerPlaces } from '../places.ts';
import type { Pod } from '../pod.ts';

/** Stats: all containers that have not exited, in one answer. */
export async function stats(pod: Pod, { details }: StatsRequest): Promise<StatsResponse> {
  const containers = [...pod.containers.values()].filter(({ state }) => state !== 'exited');
  return { containers: await Promise.all(containers.map((container) => useOf(pod, container, details))) };
}

async function useOf(pod: Pod, { parts }: Container, details: boolean): Promise<ContainerUse> {
  const { id, cgroup, target } = parts;
  const use = readUseV2(cgroup);
  const [writableLayer, processes] = await Promise.all([
    pod.written.of(id, containerPlaces(pod.settings, id).upper),
    details ? processDetails(cgroup, target.pid) : undefined,
  ]);
  return { containerId: id, cgroup: use, writableLayer, processes };
}
