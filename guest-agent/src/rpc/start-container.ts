import { HuskError } from '../../../src/base/errors.ts';
import type { StartContainerRequest, StartContainerResponse } from '../../../src/gen/agent/v1/agent.ts';
import type { Pod } from '../pod.ts';

/** StartContainer. */
export async function startContainer(pod: Pod, { containerId }: StartContainerRequest): Promise<StartContainerResponse> {
  const container = pod.container(containerId);
  if (container.state !== 'created') {
    throw new HuskError('failed-precondition', `start container "${containerId}": it is ${container.state}, wanted created`);
  }
  container.markStarted();
  const startedAtNs = BigInt(Date.now()) * 1_000_000n;
  await pod.runtime.start(containerId);
  return { startedAtNs };
}
