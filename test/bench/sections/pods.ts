/** One pod after the other, each subject in turn: every call of a pod's life. */
import { type Bench, execTrue, inTurns, pull, readyMs, removePod, startPod } from '../bench.ts';
import { freshImage } from '../images.ts';
import type { Subject } from '../subjects/subject.ts';
import { callsOf, cpuOfVm, timelineOf } from './traces.ts';

export async function measurePods(bench: Bench): Promise<void> {
  const { plan } = bench;
  for (let round = -plan.warmUps; round < plan.samples; round += 1) {
    const image = await freshImage(bench.registry, 'pod');
    for (const subject of inTurns(bench, round + plan.warmUps)) {
      await pull(subject, image);
      await samplePod(bench, subject, image, round >= 0);
      bench.watch.look('pods');
    }
  }
}

async function samplePod(bench: Bench, subject: Subject, image: string, counts: boolean): Promise<void> {
  const { recorder, plan, signal, husk } = bench;
  const add = (metric: string, value: number): void => {
    if (counts) recorder.add(metric, subject.name, value);
  };
  const pod = await startPod(subject, { image }, signal);
  if (subject === husk) add('vm-cpu', cpuOfVm(subject, pod.id));
  const first = await execTrue(subject, pod);
  add('run', pod.runMs);
  add('create', pod.createMs);
  add('start', pod.startMs);
  add('ready', readyMs(pod));
  add('exec-first', first);
  add('tti', readyMs(pod) + first);
  for (let call = 0; call < plan.execs; call += 1) add('exec', await execTrue(subject, pod));
  if (counts && subject === husk) recorder.timelines.push(await timelineOf(subject, pod));
  const { stopMs, removeMs } = await removePod(subject, pod, async () => {
    if (!counts || subject !== husk) return;
    recorder.traces.push({ podId: pod.id, readyMs: readyMs(pod), calls: await callsOf(subject, pod) });
  });
  add('stop', stopMs);
  add('remove', removeMs);
  add('stop-remove', stopMs + removeMs);
}
