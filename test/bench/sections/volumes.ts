/** Work on files, on each kind of volume, by a program in the container (test/fixtures/file-work.c), and by git. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UndoStack, undoing } from '../../../src/base/undo.ts';
import { type Bench, inTurns, pull, readyMs, removePod, startPod, timed } from '../bench.ts';
import { freshImage } from '../images.ts';
import type { Subject } from '../subjects/subject.ts';
import { diskRead, fileWork, volumePlaces, volumesPodUid } from '../volume-metrics.ts';
import { makePlaces, makeRawDisk } from '../volume-places.ts';
import { volumeTools } from '../volume-tools.ts';

const execSeconds = 300n;

interface Work {
  readonly image: string;
  readonly folder: string;
  /** How many small files; 0: none. */
  readonly files: number;
}

/** A pod for each round and subject; within it one place after the other. */
export async function measureVolumes(bench: Bench): Promise<void> {
  const { plan, registry, repository, watch } = bench;
  const folder = await mkdtemp(join(tmpdir(), 'husk-bench-volumes-'));
  try {
    const image = await freshImage(registry, 'volumes', await volumeTools(repository, folder));
    for (let round = 0; round < plan.volumes.rounds; round += 1) {
      const files = round === 0 ? plan.volumes.files : 0;
      for (const subject of inTurns(bench, round)) {
        await pull(subject, image);
        await measurePod(bench, subject, { image, folder: join(folder, `${subject.name}-${round}`), files });
        await measureStarts(bench, subject, { image, folder: join(folder, `${subject.name}-${round}-starts`) });
        watch.look('volumes');
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function measurePod(bench: Bench, subject: Subject, { image, folder, files }: Work): Promise<void> {
  const undo = new UndoStack();
  try {
    // Only a virtual machine has a kernel of its own for the disk.
    const mounts = await makePlaces(folder, subject.name === 'husk', undo);
    const raw = await makeRawDisk(folder, bench.plan.volumes.mib, undo);
    const pod = await startPod(subject, { image, mounts, devices: [raw], uid: volumesPodUid }, bench.signal);
    undo.add('pod', () => removePod(subject, pod).then(() => undefined));
    const { containerId } = pod;
    for (const { name, containerPath } of volumePlaces) {
      const place = { name, containerPath, containerId };
      const figures = await workOnFiles(bench, subject, place, files);
      if (name === 'rootfs') await compareWithRaw(bench, subject, { containerId, device: raw.containerPath, figures });
      await workWithGit(bench, subject, place);
    }
  } finally {
    await undo.unwind();
  }
}

interface Place {
  readonly name: string;
  readonly containerPath: string;
  readonly containerId: string;
}

async function said(subject: Subject, containerId: string, cmd: readonly string[]): Promise<string> {
  const call = { containerId, cmd: [...cmd], timeout: execSeconds };
  const { exitCode, stdout, stderr } = await subject.cri.execSync(call, Number(execSeconds) * 1000);
  if (exitCode !== 0) throw new Error(`${cmd.join(' ')}: exit code ${exitCode}: ${Buffer.from(stderr).toString()}`);
  return Buffer.from(stdout).toString();
}

async function workOnFiles({ plan, recorder }: Bench, subject: Subject, place: Place, files: number): Promise<Figures> {
  const { name, containerPath, containerId } = place;
  const { mib, operations } = plan.volumes;
  const cmd = ['/bin/file-work', containerPath, ...[mib, operations, files].map(String)];
  const figures = fileWork(await said(subject, containerId, cmd));
  for (const { work, figure } of figures) recorder.add(`volume-${name}-${work}`, subject.name, figure);
  return figures;
}

type Figures = ReturnType<typeof fileWork>;

interface RawWork {
  readonly containerId: string;
  readonly device: string;
  /** Of the root file system, measured just before. */
  readonly figures: Figures;
}

async function compareWithRaw({ plan, recorder }: Bench, subject: Subject, work: RawWork): Promise<void> {
  const cmd = ['/bin/file-work', 'read', work.device, String(plan.volumes.mib)];
  const raw = diskRead(await said(subject, work.containerId, cmd));
  const rootfs = work.figures.find(({ work: name }) => name === 'read')?.figure ?? Number.NaN;
  recorder.add('volume-raw-read', subject.name, raw);
  recorder.add('volume-rootfs-of-raw', subject.name, rootfs / raw);
}

/** The first run reads all files, since the index knows other ones; the second only looks at them. */
async function workWithGit({ recorder }: Bench, subject: Subject, place: Place): Promise<void> {
  const { name, containerPath, containerId } = place;
  const status = ['/bin/git', '-c', 'safe.directory=*', '-C', `${containerPath}/tree`, 'status', '--porcelain'];
  await said(subject, containerId, ['/bin/tar', 'xf', '/bench/tree.tar', '-C', containerPath]);
  await said(subject, containerId, status);
  const { ms, result } = await timed(() => said(subject, containerId, status));
  if (result !== '') throw new Error(`git status in ${name}: "${result.slice(0, 200)}"`);
  recorder.add(`volume-${name}-git-status`, subject.name, ms);
}

/** Pods without a volume and with one, in turns: what it adds is the difference within a turn. */
async function measureStarts(bench: Bench, subject: Subject, { image, folder }: Omit<Work, 'files'>): Promise<void> {
  const { plan, recorder, signal } = bench;
  const volumes = join(folder, 'pods', volumesPodUid, 'volumes');
  const copied = { hostPath: join(volumes, 'kubernetes.io~configmap/c'), containerPath: '/copied', readonly: true };
  const live = { hostPath: join(volumes, 'kubernetes.io~empty-dir/e'), containerPath: '/live' };
  for (const { hostPath } of [copied, live]) await mkdir(hostPath, { recursive: true });
  await writeFile(join(copied.hostPath, 'key'), 'value');
  for (let sample = 0; sample < plan.volumes.starts; sample += 1) {
    let without = Number.NaN;
    for (const [name, mounts] of Object.entries({ none: [], copied: [copied], live: [live] })) {
      await undoing(async (undo) => {
        const pod = await startPod(subject, { image, mounts, uid: volumesPodUid }, signal);
        undo.add('pod', () => removePod(subject, pod).then(() => undefined));
        const ms = readyMs(pod);
        recorder.add(`volume-start-${name}`, subject.name, ms);
        if (name === 'none') without = ms;
        else recorder.add(`volume-adds-${name}`, subject.name, ms - without);
        await undo.unwind();
      });
    }
  }
}
