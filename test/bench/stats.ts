/** Order statistics and bootstrap intervals. Pure: the same seed gives the same interval. */
import { HuskError } from '../../src/base/errors.ts';

/** A lower and an upper bound. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** A number from 0 (inclusive) to 1 (exclusive). */
export type Random = () => number;

const defaultResamples = 2_000;
const confidence = 0.95;

/**
 * A quantile by linear interpolation between order statistics (Hyndman and Fan 1996, type 7).
 *
 * @param q from 0 to 1
 * @throws HuskError `invalid-argument` for an empty list or a `q` out of range
 */
export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0) throw new HuskError('invalid-argument', 'quantile of no values');
  if (!(q >= 0 && q <= 1)) throw new HuskError('invalid-argument', `quantile "${q}": must be from 0 to 1`);
  const sorted = values.toSorted((a, b) => a - b);
  const place = (sorted.length - 1) * q;
  const below = sorted[Math.floor(place)] as number;
  const above = sorted[Math.ceil(place)] as number;
  return below + (above - below) * (place - Math.floor(place));
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** A small generator with a seed (mulberry32): good enough to resample with, useless for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** As many values as there are, drawn with replacement. */
export function resample(values: readonly number[], random: Random): number[] {
  return values.map(() => values[Math.floor(random() * values.length)] as number);
}

/**
 * The 95 % percentile bootstrap interval of a statistic of independent groups of samples.
 *
 * @param statistic of the resampled groups, in the order given
 */
export function bootstrap(
  groups: readonly (readonly number[])[],
  statistic: (groups: readonly (readonly number[])[]) => number,
  { seed = 1, resamples = defaultResamples }: { seed?: number; resamples?: number } = {},
): Interval {
  const random = seededRandom(seed);
  const results = Array.from({ length: resamples }, () => statistic(groups.map((group) => resample(group, random))));
  const tail = (1 - confidence) / 2;
  return { low: quantile(results, tail), high: quantile(results, 1 - tail) };
}

/** Interval of the ratio of two medians, first over second. */
export function ratioInterval(first: readonly number[], second: readonly number[], seed = 1): Interval {
  return bootstrap([first, second], ([a = [], b = []]) => median(a) / median(b), { seed });
}

/** The slope of the least-squares line through points with x of 0, 1, 2...: the change a step. */
export function slope(values: readonly number[]): number {
  const count = values.length;
  if (count < 2) throw new HuskError('invalid-argument', `slope of ${count} values: two are needed`);
  const middle = (count - 1) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  let [above, below] = [0, 0];
  for (const [x, value] of values.entries()) {
    above += (x - middle) * (value - mean);
    below += (x - middle) ** 2;
  }
  return above / below;
}

/**
 * A quantile of a histogram with cumulative buckets, as Prometheus' `histogram_quantile`
 * interpolates it. In the last, unbounded bucket the answer is its lower bound.
 *
 * @param buckets upper bounds, ascending, the last one `Infinity`, with how many values are at most that
 * @returns NaN when nothing was counted
 */
export function histogramQuantile(
  buckets: readonly { readonly le: number; readonly count: number }[],
  q: number,
): number {
  const total = buckets.at(-1)?.count ?? 0;
  if (total === 0) return Number.NaN;
  const rank = q * total;
  const index = buckets.findIndex(({ count }) => count >= rank);
  const bucket = buckets[index] as { le: number; count: number };
  const before = buckets[index - 1] ?? { le: 0, count: 0 };
  if (!Number.isFinite(bucket.le)) return before.le;
  const inside = bucket.count - before.count;
  return inside === 0 ? bucket.le : before.le + ((bucket.le - before.le) * (rank - before.count)) / inside;
}
