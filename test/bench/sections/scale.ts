/**
 * Many pods live at once, one subject after the other: two hundred live pods would make each
 * subject pay for the other's. Start latency and memory by number of pods, then what stands there
 * costs while nothing happens, then the polls of a kubelet, then an exec in each.
 */
import { sleep } from '../../../src/base/deadline.ts';
import { HuskError } from '../../../src/base/errors.ts';
import { callTreeText } from '../../../src/cli/call-tree.ts';
import {
  ListContainerStatsRequest,
  ListContainersRequest,
  ListPodSandboxRequest,
  ListPodSandboxStatsRequest,
} from '../../../src/gen/cri/v1/api.ts';
import { takeCensus } from '../../helpers/census.ts';
import { type Bench, execTrue, inTurns, type Pod, pull, readyMs, removeAll, startPod, timed } from '../bench.ts';
import { explainCpu, explainMemory } from '../explain.ts';
import { freshImage } from '../images.ts';
import { availableBytes, memoryOf, readProcesses } from '../processes.ts';
import { median, slope } from '../stats.ts';
import type { Subject } from '../subjects/subject.ts';
import { callsOf } from './traces.ts';

const megabyte = 1_000_000;
/** Memory that is freed late must not be counted on the next pod. */
const settleMs = 50;
/** Reads of each kind that do not count. */
const warmReads = 20;
/** Whiles without a stranger that are waited for, before one with a stranger is taken. */
const idleTries = 3;
/** Pods at each end that are compared. */
const mostAtAnEnd = 10;

export async function measureScale(bench: Bench): Promise<void> {
  const image = await freshImage(bench.registry, 'scale');
  for (const subject of inTurns(bench, 0)) {
    await pull(subject, image);
    const pods: Pod[] = [];
    try {
      await grow(bench, subject, image, pods);
      await idle(bench, subject, pods.length);
      footprint(bench, subject);
      await reads(bench, subject, pods);
      for (const pod of pods) {
        bench.signal.throwIfAborted();
        bench.recorder.add('exec-at-scale', subject.name, await execTrue(subject, pod));
      }
    } finally {
      await removeAll(subject, pods);
    }
    const left = await leftBehind(subject, pods);
    if (left.length > 0) throw new HuskError('internal', `${subject.name} left behind: ${left.slice(0, 5).join('; ')}`);
    bench.say(`${subject.name}: ${pods.length} pods were live, each took an exec, and nothing of them is left`);
  }
}

/** Whatever on this machine still has the id of one of the pods, or hangs on the bridge. */
async function leftBehind({ bridge }: Subject, pods: readonly Pod[]): Promise<string[]> {
  const marks = [` of ${bridge}`, ...pods.map(({ id }) => id.slice(0, 12))];
  const census = await takeCensus({ processes: /./ });
  return [...census].flatMap(([kind, lines]) =>
    lines.filter((line) => marks.some((mark) => line.includes(mark))).map((line) => `${kind}: ${line.slice(0, 120)}`),
  );
}

async function grow(bench: Bench, subject: Subject, image: string, pods: Pod[]): Promise<void> {
  const { plan, recorder, signal, say } = bench;
  const ready: number[] = [];
  const available = [availableBytes()];
  for (let live = 1; live <= plan.scale.pods; live += 1) {
    const pod = await startPod(subject, { image }, signal);
    pods.push(pod);
    ready.push(readyMs(pod));
    await sleep(settleMs, signal);
    available.push(availableBytes());
    recorder.scale.push({ subject: subject.name, live, readyMs: readyMs(pod), availableBytes: available.at(-1) ?? 0 });
    bench.watch.look('scale', 5_000);
    if (live % 25 === 0) say(`${subject.name}: ${live} pods live`);
  }
  const end = Math.max(1, Math.min(mostAtAnEnd, Math.floor(ready.length / 3)));
  recorder.add('scale', subject.name, median(ready.slice(-end)) / median(ready.slice(0, end)));
  recorder.add('memory', subject.name, -slope(available) / megabyte);
  if (subject !== bench.husk) return;
  const [first, last] = [pods.at(0), pods.at(-1)];
  if (first === undefined || last === undefined) return;
  const [one, other] = [await callsOf(subject, first), await callsOf(subject, last)];
  recorder.explain('scale', `The first pod:\n${callTreeText(one)}\nThe last pod:\n${callTreeText(other)}`);
}

/**
 * CPU time of all its processes over a while in which nobody asks anything. A while in which a
 * stranger was busy is let go by and another looked at; when the last has one too, the run says so.
 */
async function idle(bench: Bench, subject: Subject, live: number): Promise<void> {
  const { plan, recorder, signal, watch, husk, say } = bench;
  await sleep(Math.min(2_000, plan.scale.idleMs), signal);
  for (let left = idleTries - 1; ; left -= 1) {
    watch.look('scale');
    const before = readProcesses();
    const { ms } = await timed(() => sleep(plan.scale.idleMs, signal));
    const now = readProcesses();
    const look = watch.look('idle', 0);
    if (left > 0 && look !== undefined && look.foreign.length > 0) {
      watch.dismiss(look);
      say(`${look.foreign[0]?.command ?? ''} was busy while ${subject.name} was idle: looking again`);
      continue;
    }
    const { management, workload } = subject.processes();
    const ours = [...management, ...workload];
    const cpuOf = (processes: typeof now): number =>
      ours.reduce((sum, pid) => sum + (processes.get(pid)?.ownCpuMs ?? 0), 0);
    recorder.add('idle', subject.name, (100 * (cpuOf(now) - cpuOf(before))) / ms / live);
    if (subject === husk) recorder.explain('idle', explainCpu(before, now, ours, ms));
    return;
  }
}

function footprint({ recorder, husk }: Bench, subject: Subject): void {
  const { management, workload } = subject.processes();
  const { rssBytes, pssBytes } = memoryOf(management);
  recorder.add('footprint', subject.name, rssBytes / megabyte);
  recorder.add('footprint-pss', subject.name, pssBytes / megabyte);
  if (subject !== husk) return;
  const processes = readProcesses();
  recorder.explain('footprint', explainMemory(processes, management));
  recorder.explain('memory', explainMemory(processes, [...management, ...workload]));
}

async function reads(
  { plan, recorder, signal, husk, watch }: Bench,
  subject: Subject,
  pods: readonly Pod[],
): Promise<void> {
  const { cri } = subject;
  const any = (index: number): Pod => pods[index % pods.length] as Pod;
  const calls: Readonly<Record<string, (index: number) => Promise<unknown>>> = {
    'list-pods': () => cri.listPodSandbox(ListPodSandboxRequest.fromPartial({})),
    'list-containers': () => cri.listContainers(ListContainersRequest.fromPartial({})),
    'pod-status': (index) => cri.podSandboxStatus({ podSandboxId: any(index).id, verbose: false }),
    'container-status': (index) => cri.containerStatus({ containerId: any(index).containerId, verbose: false }),
    'pod-stats': () => cri.listPodSandboxStats(ListPodSandboxStatsRequest.fromPartial({})),
    'container-stats': () => cri.listContainerStats(ListContainerStatsRequest.fromPartial({})),
  };
  for (const [metric, call] of Object.entries(calls)) {
    const failure = await call(0).then(
      () => undefined,
      (caught: unknown) => (caught instanceof Error ? caught.message : String(caught)),
    );
    if (failure !== undefined) {
      if (subject === husk) recorder.miss(metric, failure);
      continue;
    }
    // A kubelet polls for days: neither runtime nor this client is to be measured while it compiles its code.
    for (let index = 1; index < warmReads; index += 1) await call(index);
    const [before, startedMs] = [readProcesses(), performance.now()];
    for (let index = 0; index < plan.scale.reads; index += 1) {
      signal.throwIfAborted();
      recorder.add(metric, subject.name, (await timed(() => call(index))).ms);
    }
    if (subject !== husk) continue;
    const { management, workload } = subject.processes();
    const elapsedMs = performance.now() - startedMs;
    recorder.explain(metric, explainCpu(before, readProcesses(), [...management, ...workload], elapsedMs));
  }
  watch.look('reads');
}
