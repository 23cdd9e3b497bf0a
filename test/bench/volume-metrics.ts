/** Names of what is measured on volumes, and the output of test/fixtures/file-work.c. Pure. */
import type { Metric } from './metrics.ts';

/** The pod that works: an emptyDir is its own by the kubelet's path. */
export const volumesPodUid = 'bench-volumes';

/** Where a container works. Without a host path: its own root file system. */
export const volumePlaces = [
  { name: 'rootfs', title: 'root file system', hostPath: undefined, containerPath: '/root-work' },
  {
    name: 'empty-dir',
    title: 'emptyDir',
    hostPath: `pods/${volumesPodUid}/volumes/kubernetes.io~empty-dir/v`,
    containerPath: '/empty',
  },
  { name: 'host-path', title: 'hostPath', hostPath: 'data', containerPath: '/host' },
  { name: 'block', title: 'disk', hostPath: 'block', containerPath: '/block' },
] as const;

const works = [
  { work: 'write', title: 'sequential write', unit: 'MB/s' },
  { work: 'read', title: 'sequential read', unit: 'MB/s' },
  { work: 'random-read', title: 'random read of 4 KiB', unit: 'op/s' },
  { work: 'random-write', title: 'random write of 4 KiB', unit: 'op/s' },
  { work: 'create', title: 'create of small files', unit: 'op/s' },
  { work: 'stat', title: 'stat of small files', unit: 'op/s' },
  { work: 'open-read', title: 'open and read of small files', unit: 'op/s' },
  { work: 'unlink', title: 'unlink of small files', unit: 'op/s' },
] as const;

const lowerIsBetter = { kind: 'ratio', peer: 'containerd', better: 'lower' } as const;

export const volumeMetrics: readonly Metric[] = [
  ...volumePlaces.flatMap((place): Metric[] => [
    ...works.map(
      ({ work, title, unit }): Metric => ({
        id: `volume-${place.name}-${work}`,
        title: `${place.title}: ${title}`,
        unit,
        judge: { kind: 'ratio', peer: 'containerd', better: 'higher' },
      }),
    ),
    {
      id: `volume-${place.name}-git-status`,
      title: `${place.title}: ExecSync of git status in a tree of this repository, its second`,
      unit: 'ms',
      judge: lowerIsBetter,
    },
  ]),
  { id: 'volume-start-none', title: 'pod ready, no volume', unit: 'ms', judge: lowerIsBetter },
  { id: 'volume-start-copied', title: 'pod ready, one configMap', unit: 'ms', judge: lowerIsBetter },
  { id: 'volume-start-live', title: 'pod ready, one emptyDir', unit: 'ms', judge: lowerIsBetter },
];

/**
 * Reads `NAME OPERATIONS BYTES SECONDS` lines; those of other work are left out.
 * @throws Error when the output is none of the program's
 */
export function fileWork(output: string): { readonly work: string; readonly figure: number }[] {
  const found = output
    .trim()
    .split('\n')
    .flatMap((line) => {
      const [name, operations, bytes, seconds] = line.split(' ');
      const known = works.find(({ work }) => work === name);
      if (known === undefined) return [];
      const amount = known.unit === 'MB/s' ? Number(bytes) / 1e6 : Number(operations);
      return [{ work: known.work, figure: amount / Number(seconds) }];
    });
  if (found.length === works.length && found.every(({ figure }) => Number.isFinite(figure))) return found;
  throw new Error(`file-work said "${output.slice(0, 300)}"`);
}
