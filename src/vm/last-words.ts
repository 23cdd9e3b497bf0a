/** What containers that still run may say when their pod is stopped. */
import { withDeadline } from '../base/deadline.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { exitOf, type LivePod } from './live-pod.ts';

/** Containers still running when their pod is stopped get this long to hand over their last output. */
const lastWordsMs = 3_000;

/** Kills the pod's containers and waits until their logs have all they wrote. What fails is logged: the VM ends all the same. */
export async function lastWords(pod: LivePod, log: Log): Promise<void> {
  const stops = [...pod.running].map((containerId) => lastOutput(pod, containerId));
  for (const { status, ...rest } of await Promise.allSettled(stops)) {
    if (status === 'rejected')
      log.warn({ error: describeError('reason' in rest ? rest.reason : rest) }, 'container did not end before its pod');
  }
}

/**
 * A killed process closes its outputs first of all; the end of its namespaces and the word of its exit take as long again, and
 * nobody needs them: what was killed with its pod is told of as such.
 */
async function lastOutput(pod: LivePod, containerId: string): Promise<void> {
  const request = { containerId, signal: 'KILL', graceMs: 0n, lastWords: true };
  const end = await pod.agent.stopContainer(request, { timeoutMs: lastWordsMs });
  const log = pod.logs.get(containerId);
  await withDeadline('last output', lastWordsMs, undefined, async () => {
    // It had ended already: its exit is on the way, after its output.
    if (end === undefined) await exitOf(pod, containerId).promise;
    else await log?.reached({ stdout: end.stdoutEnd, stderr: end.stderrEnd });
  });
}
