/** A big image, from a registry on loopback to mountable layers. */
import { ImageSpec } from '../../../src/gen/cri/v1/api.ts';
import { type Bench, inTurns, pull, timed } from '../bench.ts';
import { explainCpu } from '../explain.ts';
import { bigImages } from '../images.ts';
import { readProcesses } from '../processes.ts';

export async function measurePull(bench: Bench): Promise<void> {
  const { plan, recorder, registry, cache, say, signal } = bench;
  for (let round = 0; round < plan.pull.rounds; round += 1) {
    signal.throwIfAborted();
    const images = await bigImages(registry, cache, plan.pull);
    if (round === 0) say(`images of ${(images.bytes / 1e6).toFixed(0)} MB in ${plan.pull.layers} layers`);
    for (const subject of inTurns(bench, round)) {
      for (const [metric, image] of [
        ['pull', images.first],
        ['pull-shared', images.shared],
      ] as const) {
        signal.throwIfAborted();
        const before = readProcesses();
        const { ms } = await timed(() => pull(subject, image));
        recorder.add(metric, subject.name, ms / 1000);
        if (subject === bench.husk)
          recorder.explain(metric, explainCpu(before, readProcesses(), subject.processes().management, ms));
        bench.watch.look('pull');
      }
      for (const image of [images.first, images.shared]) {
        await subject.cri.removeImage({ image: ImageSpec.fromPartial({ image }) });
      }
    }
  }
}
