import assert from 'node:assert/strict';
import { test } from 'node:test';
import { draw, medianSteps } from './draw.ts';
import { element, ticks } from './svg.ts';

test('an axis has round numbers up to the largest value', () => {
  assert.deepEqual(ticks(95), [0, 20, 40, 60, 80, 100]);
  assert.deepEqual(ticks(0.7), [0, 0.2, 0.4, 0.6000000000000001, 0.8]);
  assert.deepEqual(ticks(0), [0, 1]);
});

test('attributes cannot break out of their element', () => {
  assert.equal(element('a', { b: '"><x>' }), '<a b="&quot;&gt;&lt;x&gt;"></a>');
});

test('a step takes the time since the stamp before it, whatever the order they are stored in', () => {
  const steps = [
    { step: 'late', atMs: 30 },
    { step: 'early', atMs: 10 },
  ];
  const other = [
    { step: 'early', atMs: 20 },
    { step: 'late', atMs: 50 },
  ];
  assert.deepEqual(medianSteps([steps, other]), [
    { name: 'early', value: 15 },
    { name: 'late', value: 25 },
  ]);
});

test('there is a plot for what was measured, well-formed and with every subject', () => {
  const samples = { ready: { husk: [30], containerd: [10] }, run: { husk: [20], containerd: [5] } };
  const scale = ['husk', 'containerd'].flatMap((subject) =>
    [1, 2].map((live) => ({ subject, live, readyMs: 10 * live, availableBytes: 1e9 - live * 1e7 })),
  );
  const plots = draw({ samples, timelines: [{ subject: 'husk', steps: [{ step: 'netns', atMs: 4 }] }], scale });
  assert.deepEqual(
    plots.map(({ name }) => name),
    ['start', 'latency', 'memory'],
  );
  for (const { svg } of plots) {
    assert.match(svg, /^<svg xmlns=.*<\/svg>\n$/s);
    assert.match(svg, />husk</);
    assert.match(svg, />containerd</);
    assert.doesNotMatch(svg, /NaN|undefined|Infinity/);
  }
  assert.deepEqual(draw({ samples: {}, timelines: [], scale: [] }), []);
});
