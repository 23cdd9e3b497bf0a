import { withDeadline } from '../../../src/base/deadline.ts';
import { HuskError } from '../../../src/base/errors.ts';
import type { StartContainerRequest, StartContainerResponse } from '../../../src/gen/agent/v1/agent.ts';
import type { Pod } from '../pod.ts';
import type { Answer } from '../steps.ts';

/** The client of a direct run connects before it asks for the start. */
const attachMs = 30_000;

/** StartContainer: lets the container's first process run its program. */
export function startContainer(
  pod: Pod,
  { containerId }: StartContainerRequest,
): Promise<Answer<StartContainerResponse>> {
  return pod.locks.run(containerId, () => start(pod, containerId));
}

async function start(pod: Pod, containerId: string): Promise<Answer<StartContainerResponse>> {
  const container = pod.container(containerId);
  if (container.state !== 'created') {
    throw new HuskError(
      'failed-precondition',
      `start container "${containerId}": it is ${container.state}, wanted created`,
    );
  }
  if (container.parts.foreground) {
    await withDeadline('a client that attaches to the container', attachMs, undefined, () => container.attached);
  }
  // Before the call: a start is never later than the exit.
  const startedAtNs = BigInt(Date.now()) * 1_000_000n;
  await container.start();
  return { startedAtNs };
}
