import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bootstrap, histogramQuantile, median, quantile, ratioInterval, seededRandom, slope } from './stats.ts';

test('quantiles lie between order statistics, as type 7 has them', () => {
  assert.equal(quantile([4, 1, 3, 2], 0.5), 2.5);
  assert.equal(quantile([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.9), 9.1);
  assert.deepEqual([quantile([7], 0), quantile([7], 1)], [7, 7]);
  assert.throws(() => quantile([], 0.5), /no values/);
  assert.throws(() => quantile([1], 1.5), /"1.5": must be from 0 to 1/);
});

test('a quantile is never outside the values, and grows with q', () => {
  const numbers = fc.array(fc.double({ noNaN: true, min: -1e9, max: 1e9 }), { minLength: 1 });
  fc.assert(
    fc.property(numbers, fc.double({ min: 0, max: 1, noNaN: true }), (values, q) => {
      const found = quantile(values, q);
      assert.ok(found >= Math.min(...values) && found <= Math.max(...values));
      assert.ok(found <= quantile(values, 1));
    }),
  );
});

test('the generator repeats for a seed, differs for another, and is even', () => {
  const draw = (seed: number, count: number): number[] => {
    const random = seededRandom(seed);
    return Array.from({ length: count }, random);
  };
  assert.deepEqual(draw(7, 5), draw(7, 5));
  assert.notDeepEqual(draw(7, 5), draw(8, 5));
  const many = draw(1, 20_000);
  assert.ok(many.every((value) => value >= 0 && value < 1));
  assert.ok(Math.abs(many.reduce((sum, value) => sum + value, 0) / many.length - 0.5) < 0.01);
});

test('an interval holds the statistic, and is narrower with more samples', () => {
  const random = seededRandom(3);
  const noisy = (count: number): number[] => Array.from({ length: count }, () => 100 + 20 * random());
  const [few, many] = [noisy(8), noisy(400)];
  const [wide, narrow] = [few, many].map((values) => bootstrap([values], ([group = []]) => median(group)));
  assert.ok(wide!.low <= median(few) && median(few) <= wide!.high);
  assert.ok(narrow!.high - narrow!.low < wide!.high - wide!.low);
});

test('the interval of a ratio finds what was put in, and repeats', () => {
  const random = seededRandom(5);
  const [slow, fast] = [3, 1].map((factor) => Array.from({ length: 60 }, () => factor * (50 + 4 * random())));
  const interval = ratioInterval(slow!, fast!);
  assert.ok(interval.low > 2.8 && interval.high < 3.2, JSON.stringify(interval));
  assert.deepEqual(ratioInterval(slow!, fast!), interval);
  assert.deepEqual(ratioInterval([5, 5], [2, 2]), { low: 2.5, high: 2.5 });
});

test('the slope of a line is its step', () => {
  assert.equal(slope([10, 13, 16, 19]), 3);
  assert.equal(slope([5, 5]), 0);
  assert.throws(() => slope([1]), /two are needed/);
});

test('a quantile of a histogram is interpolated in its bucket', () => {
  const buckets = [
    { le: 1, count: 50 },
    { le: 2, count: 90 },
    { le: Number.POSITIVE_INFINITY, count: 100 },
  ];
  assert.equal(histogramQuantile(buckets, 0.5), 1);
  assert.equal(histogramQuantile(buckets, 0.7), 1.5);
  assert.equal(histogramQuantile(buckets, 0.99), 2);
  assert.ok(Number.isNaN(histogramQuantile([{ le: Number.POSITIVE_INFINITY, count: 0 }], 0.5)));
});
