/** From samples to the rows of the report. Pure. */
import { type Metric, metrics } from './metrics.ts';
import type { Results } from './results.ts';
import { bootstrap, type Interval, median, quantile, ratioInterval } from './stats.ts';

export type Verdict = 'met' | 'stretch met' | 'missed' | 'not measured' | 'no target';

export interface Row {
  readonly metric: Metric;
  readonly husk: Summary | undefined;
  readonly peer: Summary | undefined;
  /** Of the ratio, or of the value for metrics that are judged by themselves. */
  readonly judged: number | undefined;
  readonly interval: Interval | undefined;
  readonly verdict: Verdict;
  /** Why there is no figure. */
  readonly why: string;
}

export interface Summary {
  readonly count: number;
  readonly p50: number;
  readonly p90: number;
}

/** Every metric that was asked for, with its verdict. */
export function rowsOf(results: Pick<Results, 'samples' | 'missing'>): Row[] {
  return metrics.flatMap((metric) => {
    const subjects = results.samples[metric.id];
    const why = results.missing[metric.id];
    if (subjects === undefined && why === undefined) return [];
    return [rowOf(metric, subjects ?? {}, why ?? '')];
  });
}

function rowOf(metric: Metric, subjects: Readonly<Record<string, readonly number[]>>, why: string): Row {
  const [ours, theirs] = [subjects['husk'] ?? [], subjects[metric.judge.peer] ?? []];
  const [husk, peer] = [summary(ours), summary(theirs)];
  if (metric.judge.kind === 'value') {
    const interval = ours.length > 1 ? bootstrap([ours], ([group = []]) => median(group)) : undefined;
    return { metric, husk, peer, judged: husk?.p50, interval, verdict: verdict(metric, husk?.p50), why };
  }
  const ratio = husk === undefined || peer === undefined ? undefined : husk.p50 / peer.p50;
  const interval = ours.length > 1 && theirs.length > 1 ? ratioInterval(ours, theirs) : undefined;
  const reason =
    why === '' && ratio === undefined ? `no sample of ${husk === undefined ? 'husk' : metric.judge.peer}` : why;
  return { metric, husk, peer, judged: ratio, interval, verdict: verdict(metric, ratio), why: reason };
}

function summary(values: readonly number[]): Summary | undefined {
  if (values.length === 0) return undefined;
  return { count: values.length, p50: median(values), p90: quantile(values, 0.9) };
}

function verdict({ judge, target, stretch }: Metric, figure: number | undefined): Verdict {
  if (figure === undefined) return 'not measured';
  if (target === undefined) return 'no target';
  const reaches = (bound: number): boolean => (judge.better === 'lower' ? figure <= bound : figure >= bound);
  if (stretch !== undefined && reaches(stretch)) return 'stretch met';
  return reaches(target) ? 'met' : 'missed';
}
