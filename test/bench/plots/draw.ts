/** The plots of a run, as SVG text. Pure. */
import type { TimelineStep } from '../../../src/pod/records.ts';
import type { Results } from '../results.ts';
import { median } from '../stats.ts';
import { lineChart } from './line-chart.ts';
import { type Bar, stackedBars } from './stacked-bars.ts';

export interface Plot {
  /** File name without its ending. */
  readonly name: string;
  readonly title: string;
  readonly svg: string;
}

const megabyte = 1_000_000;

/** Those for which something was measured. */
export function draw(results: Pick<Results, 'samples' | 'timelines' | 'scale'>): Plot[] {
  const plots: Plot[] = [];
  const add = (name: string, title: string, svg: (title: string) => string): void => {
    plots.push({ name, title, svg: svg(title) });
  };
  const bars = startBars(results);
  if (bars.length > 0)
    add('start', 'Where the time of a pod’s start goes (p50)', (title) => stackedBars(title, 'ms', bars));
  if (results.scale.length > 0) {
    const live = 'live pods';
    add('latency', 'Start of one more pod by number of live pods', (title) =>
      lineChart(
        title,
        { x: live, y: 'ms until the pod is ready' },
        bySubject(results, ({ readyMs }) => readyMs),
      ),
    );
    add('memory', 'Memory by number of live pods', (title) =>
      lineChart(title, { x: live, y: 'MB less MemAvailable than with one pod' }, memorySeries(results)),
    );
  }
  return plots;
}

/** husk's bar has a part for each stamp: the time since the stamp before it, whatever ran beside. */
function startBars({ samples, timelines }: Pick<Results, 'samples' | 'timelines'>): Bar[] {
  const p50 = (metric: string, subject: string): number => median(samples[metric]?.[subject] ?? [0]);
  const calls = (subject: string): Bar['parts'] => [
    { name: 'RunPodSandbox', value: p50('run', subject) },
    { name: 'CreateContainer', value: p50('create', subject) },
    { name: 'StartContainer', value: p50('start', subject) },
  ];
  return Object.keys(samples['ready'] ?? {}).map((subject) => {
    const steps = medianSteps(
      timelines.filter((timeline) => timeline.subject === subject).map(({ steps: own }) => own),
    );
    if (steps.length === 0) return { label: subject, parts: calls(subject) };
    const inRun = steps.reduce((sum, { value }) => sum + value, 0);
    const rest = { name: 'RunPodSandbox, rest', value: Math.max(0, p50('run', subject) - inRun) };
    return { label: subject, parts: [...steps, rest, ...calls(subject).slice(1)] };
  });
}

/** Of each stamp the median of the time since the stamp before it, in the order of the first timeline. */
export function medianSteps(timelines: readonly (readonly TimelineStep[])[]): { name: string; value: number }[] {
  const waits = new Map<string, number[]>();
  for (const steps of timelines) {
    let before = 0;
    for (const { step, atMs } of steps.toSorted((a, b) => a.atMs - b.atMs)) {
      const known = waits.get(step) ?? [];
      waits.set(step, [...known, atMs - before]);
      before = atMs;
    }
  }
  return [...waits].map(([name, values]) => ({ name, value: median(values) }));
}

type Point = Results['scale'][number];

function bySubject({ scale }: Pick<Results, 'scale'>, value: (point: Point, first: Point) => number) {
  const subjects = [...new Set(scale.map(({ subject }) => subject))];
  return subjects.map((label) => {
    const points = scale.filter(({ subject }) => subject === label);
    const [first] = points;
    return { label, points: points.map((point) => ({ x: point.live, y: value(point, first ?? point) })) };
  });
}

function memorySeries(results: Pick<Results, 'scale'>) {
  return bySubject(results, (point, first) => Math.max(0, (first.availableBytes - point.availableBytes) / megabyte));
}
