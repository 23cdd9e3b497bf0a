/** Work on files, on each kind of volume, by a program in the container (test/fixtures/file-work.c). */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../../src/base/exec.ts';
import { type Bench, inTurns, pull, removePod, startPod } from '../bench.ts';
import { freshImage } from '../images.ts';
import type { Subject } from '../subjects/subject.ts';
import { fileWork, volumePlaces } from '../volume-metrics.ts';

const execSeconds = 300n;

/** A pod for each round and subject; within it one place after the other. */
export async function measureVolumes(bench: Bench): Promise<void> {
  const { plan, registry, repository, watch } = bench;
  const folder = await mkdtemp(join(tmpdir(), 'husk-bench-volumes-'));
  try {
    const program = join(folder, 'file-work');
    const source = join(repository, 'test/fixtures/file-work.c');
    await run('gcc', ['-O2', '-static', '-o', program, source], { timeoutMs: 60_000 });
    const extra = [{ name: 'bin/file-work', data: await readFile(program), mode: 0o755 }];
    const image = await freshImage(registry, 'volumes', extra);
    for (let round = 0; round < plan.volumes.rounds; round += 1) {
      for (const subject of inTurns(bench, round)) {
        await pull(subject, image);
        await measurePod(bench, subject, { image, folder: join(folder, `${subject.name}-${round}`) });
        watch.look('volumes');
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function measurePod(
  { plan, recorder, signal }: Bench,
  subject: Subject,
  { image, folder }: { readonly image: string; readonly folder: string },
): Promise<void> {
  const mounts = [];
  for (const { hostPath, containerPath } of volumePlaces) {
    if (hostPath === undefined) continue;
    await mkdir(join(folder, hostPath), { recursive: true });
    mounts.push({ hostPath: join(folder, hostPath), containerPath });
  }
  const pod = await startPod(subject, { image, mounts }, signal);
  try {
    for (const { name, containerPath } of volumePlaces) {
      const cmd = ['/bin/file-work', containerPath, String(plan.volumes.mib), String(plan.volumes.files)];
      const call = { containerId: pod.containerId, cmd, timeout: execSeconds };
      const { exitCode, stdout, stderr } = await subject.cri.execSync(call, Number(execSeconds) * 1000);
      if (exitCode !== 0)
        throw new Error(`file-work in ${name}: exit code ${exitCode}: ${Buffer.from(stderr).toString()}`);
      for (const { work, figure } of fileWork(Buffer.from(stdout).toString()))
        recorder.add(`volume-${name}-${work}`, subject.name, figure);
    }
  } finally {
    await removePod(subject, pod);
  }
}
