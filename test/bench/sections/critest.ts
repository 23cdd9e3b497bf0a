/** The benchmark of cri-tools against both, for figures that others can make too. */
import { existsSync, globSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../../src/base/exec.ts';
import { type Bench, inTurns, pull } from '../bench.ts';
import { parseCritest } from '../critest.ts';
import { freshImage } from '../images.ts';
import type { Subject } from '../subjects/subject.ts';

const limitMs = 15 * 60_000;
const files = ['pod_benchmark_data.json', 'container_benchmark_data.json'];

export async function measureCritest(bench: Bench): Promise<void> {
  const program = findCritest(bench.repository);
  if (program === undefined) {
    bench.recorder.miss('critest-CreatePod', 'there is no critest: `make crictl` or `make conformance` builds it');
    return;
  }
  const image = await freshImage(bench.registry, 'critest');
  for (const subject of inTurns(bench, 0)) {
    await pull(subject, image);
    await benchmark(bench, subject, { program, image });
    bench.watch.look('critest');
  }
}

async function benchmark(
  { plan, recorder, signal }: Bench,
  subject: Subject,
  { program, image }: { readonly program: string; readonly image: string },
): Promise<void> {
  const folder = join(subject.folder, 'critest');
  await mkdir(folder, { recursive: true });
  const count = plan.critest.samples;
  await writeFile(join(folder, 'params.yaml'), `containersNumber: ${count}\npodsNumber: ${count}\n`);
  await writeFile(join(folder, 'images.yaml'), `defaultTestContainerImage: ${image}\n`);
  const socket = `unix://${subject.socket}`;
  const args = [
    '-benchmark',
    `-runtime-endpoint=${socket}`,
    `-image-endpoint=${socket}`,
    `-config=${join(folder, 'none.yaml')}`,
    `-benchmarking-params-file=${join(folder, 'params.yaml')}`,
    `-test-images-file=${join(folder, 'images.yaml')}`,
    `-benchmarking-output-dir=${folder}`,
  ];
  await run(program, args, { timeoutMs: limitMs, signal, cwd: folder });
  for (const file of files) {
    const durations = parseCritest(await readFile(join(folder, file), 'utf8'));
    for (const [operation, values] of Object.entries(durations)) {
      for (const ms of values) recorder.add(`critest-${operation}`, subject.name, ms);
    }
  }
}

/** The newest of those that `make conformance` has built here. */
function findCritest(repository: string): string | undefined {
  return globSync(join(repository, 'build/bin/cri-tools-*/critest'))
    .toSorted()
    .findLast((path) => existsSync(path));
}
