/** What comes from the guests: log lines, exits, lost links. */
import type { AgentEvents } from '../agent/agent.ts';
import { sleep } from '../base/deadline.ts';
import { describeError, HuskError, isKind } from '../base/errors.ts';
import { exitOf, type LivePod } from './live-pod.ts';
import type { VmRuntimeOptions } from './options.ts';

/** While the log's disk is full the guest's output waits; this is how often it is tried again. */
const fullDiskRetryMs = 1_000;

export interface PodLookup {
  /** The pod, once it is up; undefined when it is not ours. */
  find(vmId: string): Promise<LivePod | undefined>;
  /** The pod cannot be used any more. */
  lost(vmId: string, reason: string): void;
}

/** The runtime's ears: each handler settles when the guest may forget what it told. */
export function vmEvents(options: Pick<VmRuntimeOptions, 'events' | 'log'>, pods: PodLookup): AgentEvents {
  return {
    async onLog({ vmId, containerId, stream, endOffset, lines }) {
      const pod = await known(pods, vmId);
      for (;;) {
        try {
          return await pod.logs.get(containerId)?.append(stream, endOffset, lines);
        } catch (caught) {
          if (pod.stopping || !isKind(caught, 'resource-exhausted')) throw caught;
          options.log.error(
            { container: containerId, error: describeError(caught) },
            'the log cannot be written; its output waits',
          );
        }
        await sleep(fullDiskRetryMs);
      }
    },
    async onExit({ vmId, containerId, exitCode, oomKilled, finishedAtNs }) {
      const pod = await known(pods, vmId);
      pod.running.delete(containerId);
      options.events.onContainerExit(containerId, { exitCode, oomKilled, finishedAtNs, message: '' });
      exitOf(pod, containerId).resolve();
    },
    onLinkLost: (vmId, reason) => pods.lost(vmId, reason),
  };
}

async function known(pods: PodLookup, vmId: string): Promise<LivePod> {
  const pod = await pods.find(vmId);
  if (pod !== undefined) return pod;
  throw new HuskError('not-found', `event of VM "${vmId.slice(0, 12)}": no such pod`);
}
