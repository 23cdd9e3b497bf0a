/** Many pods asked for at once. */
import { callTreeText } from '../../../src/cli/call-tree.ts';
import { type Bench, inTurns, type Pod, pull, readyMs, removeAll, startPod } from '../bench.ts';
import { freshImage } from '../images.ts';
import { loopDelays } from '../loop-delay.ts';
import { histogramQuantile } from '../stats.ts';
import type { Subject } from '../subjects/subject.ts';
import { callsOf } from './traces.ts';

export async function measureBurst(bench: Bench): Promise<void> {
  const image = await freshImage(bench.registry, 'burst');
  for (let round = 0; round < bench.plan.burst.rounds; round += 1) {
    for (const subject of inTurns(bench, round)) {
      await pull(subject, image);
      const loop = subject === bench.husk ? await loopDelays(bench.husk.metricsUrl) : undefined;
      await burst(bench, subject, image);
      const delays = await loop?.since();
      if (delays !== undefined) bench.recorder.add('loop', subject.name, histogramQuantile(delays, 0.99));
      else if (subject === bench.husk) bench.recorder.miss('loop', 'this huskd has no metrics endpoint');
      bench.watch.look('burst');
    }
  }
}

async function burst(bench: Bench, subject: Subject, image: string): Promise<void> {
  const { recorder, plan, signal, husk } = bench;
  const count = plan.burst.pods;
  const started = performance.now();
  const made = await Promise.allSettled(Array.from({ length: count }, () => startPod(subject, { image }, signal)));
  const seconds = (performance.now() - started) / 1000;
  const pods = made.flatMap((result): Pod[] => (result.status === 'fulfilled' ? [result.value] : []));
  const slowest = pods.toSorted((a, b) => readyMs(a) - readyMs(b)).at(-1);
  if (subject === husk && slowest !== undefined)
    recorder.explain('burst', callTreeText(await callsOf(subject, slowest)));
  await removeAll(subject, pods);
  signal.throwIfAborted();
  const failed = made.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  recorder.add('burst', subject.name, count / seconds);
}
