/** What a pod's own trace and its VM process tell. */
import type { CallTrace } from '../../../src/metrics/pod-traces.ts';
import type { TimelineStep } from '../../../src/pod/records.ts';
import type { Pod } from '../bench.ts';
import { commandOf, readProcesses } from '../processes.ts';
import type { PodTimeline } from '../results.ts';
import type { Subject } from '../subjects/subject.ts';

/** The stamps of a pod's start; none where the runtime keeps none. */
export async function timelineOf(subject: Subject, { id: podSandboxId }: Pick<Pod, 'id'>): Promise<PodTimeline> {
  const { info } = await subject.cri.podSandboxStatus({ podSandboxId, verbose: true });
  const steps: unknown = JSON.parse(info['timeline'] ?? '[]');
  return { subject: subject.name, steps: Array.isArray(steps) ? (steps as TimelineStep[]) : [] };
}

/** The spans of a pod's calls so far. */
export async function callsOf(subject: Subject, { id: podSandboxId }: Pick<Pod, 'id'>): Promise<CallTrace[]> {
  const { info } = await subject.cri.podSandboxStatus({ podSandboxId, verbose: true });
  const calls: unknown = JSON.parse(info['calls'] ?? '[]');
  return Array.isArray(calls) ? (calls as CallTrace[]) : [];
}

/** The CPU time that a pod's VM process has used, in milliseconds; steps of 10. */
export function cpuOfVm(subject: Subject, podId: string): number {
  const { workload } = subject.processes();
  const processes = readProcesses();
  const mine = workload.filter((pid) => commandOf(pid).includes(podId.slice(0, 12)));
  return mine.reduce((sum, pid) => sum + (processes.get(pid)?.ownCpuMs ?? 0), 0);
}

/** Milliseconds from the start of the VM process to the agent's first answer. */
export function firstAnswerMs(steps: readonly TimelineStep[]): number {
  const at = (name: string): number | undefined => steps.find(({ step }) => step === name)?.atMs;
  // The guest takes on its identity while the link is opened, so both are done at once.
  const [from, to] = [at('vm-disk'), at('agent') ?? at('identity')];
  return from === undefined || to === undefined ? Number.NaN : to - from;
}
