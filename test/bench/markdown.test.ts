import assert from 'node:assert/strict';
import { test } from 'node:test';
import { markdown, number } from './markdown.ts';
import { mergeResults, type Results } from './results.ts';

const results: Results = {
  version: 1,
  plan: 'quick',
  startedAt: '2026-01-02T03:04:05.000Z',
  conditions: {
    machine: { cpu: 'CPU', cores: 2, memoryBytes: 2 ** 30, kernel: '6', cgroups: 'v2', distribution: 'Debian' },
    accelerator: 'tcg',
    acceleratorReason: 'no KVM',
    versions: { husk: 'abc', qemu: '7.2' },
    pool: 'none',
    load: [{ section: 'pods', atS: 1, seconds: 2, loadAverage: 0.5, foreignShare: 0.03, foreign: [] }],
  },
  invalid: [],
  samples: { run: { husk: [300, 310, 320], containerd: [100, 101, 102] } },
  scale: [],
  timelines: [],
  traces: [],
  missing: { loop: 'no endpoint' },
  seconds: { pods: 61.2 },
  explanations: { run: 'vm 300 ms', exec: 'not missed' },
};

test('the report has a line for each metric, the conditions and the plots', () => {
  const text = markdown(results, [{ file: 'start.svg', title: 'Start' }]);
  assert.match(text, /^## Benchmark of 2026-01-02 03:04 UTC \(quick\)/);
  assert.match(
    text,
    /\| RunPodSandbox \| ms \| 310 \| 318 \| 3 \| containerd \| 101 .*\| ratio 3.07 \|.*\| \*\*missed\*\* \|/,
  );
  assert.match(text, /event-loop delay[^\n]*: no endpoint/);
  assert.match(text, /Accelerator tcg \(no KVM\)/);
  assert.match(text, /used at most 3 % of a core/);
  assert.match(text, /!\[Start\]\(start.svg\)/);
  assert.match(text, /Time: pods 61 s\./);
  assert.match(text, /\nRunPodSandbox:\n\n```text\nvm 300 ms\n```/);
  assert.doesNotMatch(text, /INVALID|not missed/);
  assert.match(markdown(results, [], 'docs/report.md'), /missed metrics go: \[docs\/report.md\]/);
});

test('an invalid run says so first, and why', () => {
  const text = markdown({ ...results, invalid: ['the peer is missing'] }, []);
  assert.match(text, /INVALID: these figures must not be used[^|]*- the peer is missing[^|]*\| Metric/);
});

test('runs of parts become one: samples come together, doubts stay', () => {
  const second: Results = {
    ...results,
    invalid: ['busy'],
    samples: { run: { husk: [1] }, loop: { husk: [5] } },
    missing: {},
  };
  const merged = mergeResults([results, second]);
  assert.deepEqual(merged.samples['run'], { husk: [300, 310, 320, 1], containerd: [100, 101, 102] });
  assert.deepEqual(merged.samples['loop'], { husk: [5] });
  assert.deepEqual([merged.missing, merged.invalid, merged.conditions.load.length], [{}, ['busy'], 2]);
  assert.throws(() => mergeResults([]), /there are none/);
});

test('numbers have three digits that say something', () => {
  assert.deepEqual([1234.5, 45.67, 3.14159, 0.5, 0.01666].map(number), ['1235', '45.7', '3.14', '0.500', '0.0167']);
});
