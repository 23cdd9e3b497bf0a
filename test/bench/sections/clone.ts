/** A clone's first answer against that of a VM that boots: the same daemon, without a template. */
import { type Bench, pull, removePod, startPod } from '../bench.ts';
import { freshImage } from '../images.ts';
import { startHusk } from '../subjects/husk.ts';
import type { Subject } from '../subjects/subject.ts';
import { firstAnswerMs, timelineOf } from './traces.ts';

/** Clones for each boot: they are that much shorter. */
const clonesPerBoot = 3;

export async function measureClone(bench: Bench): Promise<void> {
  const { plan, registry, cache, husk } = bench;
  if (plan.coldBoots === 0) return;
  const image = await freshImage(registry, 'clone');
  const cold = await startHusk({ registry: registry.host, template: false, templateCache: cache });
  try {
    await pull(husk, image);
    await pull(cold, image);
    for (let round = 0; round < plan.coldBoots; round += 1) {
      await sample(bench, cold, image);
      for (let clone = 0; clone < clonesPerBoot; clone += 1) await sample(bench, husk, image);
      bench.watch.look('clone');
    }
  } finally {
    await cold.stop();
  }
}

async function sample({ recorder, signal }: Bench, subject: Subject, image: string): Promise<void> {
  const pod = await startPod(subject, { image }, signal);
  const { steps } = await timelineOf(subject, pod);
  await removePod(subject, pod);
  const ms = firstAnswerMs(steps);
  if (Number.isNaN(ms)) recorder.miss('clone', `the timeline has no such stamps: ${JSON.stringify(steps)}`);
  else recorder.add('clone', subject.name, ms);
}
