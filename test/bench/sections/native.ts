/** Privileged pods, which run on the host's kernel in both runtimes. */

import { callTreeText } from '../../../src/cli/call-tree.ts';
import { StatusRequest } from '../../../src/gen/cri/v1/api.ts';
import { type Bench, inTurns, pull, readyMs, removePod, startPod } from '../bench.ts';
import { freshImage } from '../images.ts';
import { callsOf } from './traces.ts';

export async function measureNative(bench: Bench): Promise<void> {
  const { plan, recorder, husk, registry, signal, watch } = bench;
  const { runtimeHandlers } = await husk.cri.status(StatusRequest.fromPartial({}));
  if (!runtimeHandlers.some(({ name }) => name === 'native')) {
    recorder.miss('native-ready', 'this huskd runs no native pods');
    return;
  }
  const image = await freshImage(registry, 'native');
  for (const subject of inTurns(bench, 0)) await pull(subject, image);
  for (let round = -plan.warmUps; round < plan.samples; round += 1) {
    for (const subject of inTurns(bench, round + plan.warmUps)) {
      const pod = await startPod(subject, { image, privileged: true }, signal);
      if (round >= 0) recorder.add('native-ready', subject.name, readyMs(pod));
      if (subject === husk) recorder.explain('native-ready', callTreeText(await callsOf(subject, pod)));
      await removePod(subject, pod);
      watch.look('native');
    }
  }
}
