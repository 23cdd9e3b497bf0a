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

/** What live sharing is to reach by itself, whatever the peer does. */
const [liveMegabytes, liveOperations] = [50, 1000];
/** What one volume may add to a pod's start, and the share of a raw disk's speed that the root file system is to have. */
const [addedMs, shareOfRaw] = [60, 0.7];

const works = [
  { work: 'write', title: 'sequential write', unit: 'MB/s', live: liveMegabytes },
  { work: 'read', title: 'sequential read', unit: 'MB/s', live: liveMegabytes },
  { work: 'random-read', title: 'random read of 4 KiB', unit: 'op/s' },
  { work: 'random-write', title: 'random write of 4 KiB', unit: 'op/s' },
  { work: 'create', title: 'create of small files', unit: 'op/s', live: liveOperations, small: true },
  { work: 'stat', title: 'stat of small files', unit: 'op/s', live: liveOperations, small: true },
  { work: 'open-read', title: 'open and read of small files', unit: 'op/s', live: liveOperations, small: true },
  { work: 'unlink', title: 'unlink of small files', unit: 'op/s', live: liveOperations, small: true },
] as const;
type Work = (typeof works)[number];

const peer = 'containerd';
const lowerIsBetter = { kind: 'ratio', peer, better: 'lower' } as const;

/** Of places that are shared live the figure itself is judged, of others the ratio to the peer's is shown. */
function workMetric(place: (typeof volumePlaces)[number], work: Work): Metric {
  const isLive = place.name === 'empty-dir' || place.name === 'host-path';
  const target = isLive && 'live' in work ? work.live : undefined;
  return {
    id: `volume-${place.name}-${work.work}`,
    title: `${place.title}: ${work.title}`,
    unit: work.unit,
    judge: { kind: target === undefined ? 'ratio' : 'value', peer, better: 'higher' },
    ...(target === undefined ? {} : { target }),
  };
}

const higherByItself = { kind: 'value', peer, better: 'higher' } as const;
const lowerByItself = { kind: 'value', peer, better: 'lower' } as const;

export const volumeMetrics: readonly Metric[] = [
  ...volumePlaces.flatMap((place): Metric[] => [
    ...works.map((work) => workMetric(place, work)),
    {
      id: `volume-${place.name}-git-status`,
      title: `${place.title}: ExecSync of git status in a tree of this repository, its second`,
      unit: 'ms',
      judge: lowerIsBetter,
    },
  ]),
  {
    id: 'volume-raw-read',
    title: 'raw disk of the same machine: sequential read',
    unit: 'MB/s',
    judge: { ...lowerIsBetter, better: 'higher' },
  },
  {
    id: 'volume-rootfs-of-raw',
    title: 'root file system: sequential read, against the raw disk in the same pod',
    unit: '×',
    judge: higherByItself,
    target: shareOfRaw,
  },
  { id: 'volume-start-none', title: 'pod ready, no volume', unit: 'ms', judge: lowerIsBetter },
  { id: 'volume-start-copied', title: 'pod ready, one configMap', unit: 'ms', judge: lowerIsBetter },
  { id: 'volume-start-live', title: 'pod ready, one emptyDir', unit: 'ms', judge: lowerIsBetter },
  { id: 'volume-adds-copied', title: 'what one configMap adds', unit: 'ms', judge: lowerByItself, target: addedMs },
  { id: 'volume-adds-live', title: 'what one emptyDir adds', unit: 'ms', judge: lowerByItself, target: addedMs },
];

/** Megabytes a second of a line `NAME OPERATIONS BYTES SECONDS`, or operations. */
function rate(line: string, unit: 'MB/s' | 'op/s'): number {
  const [, operations, bytes, seconds] = line.split(' ');
  return (unit === 'MB/s' ? Number(bytes) / 1e6 : Number(operations)) / Number(seconds);
}

/**
 * Reads the program's lines; those of other work are left out. Work on small files may not have been asked for.
 * @throws Error when the output is none of the program's
 */
export function fileWork(output: string): { readonly work: string; readonly figure: number }[] {
  const lines = output.trim().split('\n');
  const found = lines.flatMap((line) => {
    const known = works.find(({ work }) => line.startsWith(`${work} `));
    return known === undefined ? [] : [{ work: known.work, figure: rate(line, known.unit) }];
  });
  const wanted = works.filter((work) => !('small' in work)).length;
  const isWhole = found.length === wanted || found.length === works.length;
  if (isWhole && found.every(({ figure }) => Number.isFinite(figure))) return found;
  throw new Error(`file-work said "${output.slice(0, 300)}"`);
}

/** @throws Error when the output is none of the program's */
export function diskRead(output: string): number {
  const figure = /^disk-read \d+ \d+ [\d.]+\n$/.test(output) ? rate(output.trim(), 'MB/s') : Number.NaN;
  if (Number.isFinite(figure)) return figure;
  throw new Error(`file-work said "${output.slice(0, 300)}"`);
}
