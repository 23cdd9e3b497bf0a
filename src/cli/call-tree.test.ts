import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Span } from '../base/trace.ts';
import type { CallTrace } from '../metrics/pod-traces.ts';
import { callTreeText } from './call-tree.ts';
import { chromeTrace, rowsOf } from './chrome-trace.ts';

type Row = [name: string, parent: number, startMs: number, endMs: number];
const spans = (...rows: readonly Row[]): Span[] =>
  rows.map(([name, parent, startMs, endMs], index) => ({
    index,
    name,
    parent,
    startMs,
    endMs,
    failed: false,
    attributes: {},
  }));

const run: CallTrace = {
  rpc: 'RunPodSandbox',
  code: 'OK',
  startedAtNs: '1700000000000000000',
  spans: spans(
    ['RunPodSandbox', -1, 0, 100],
    ['network', 0, 10, 80],
    ['vm', 0, 12, 60],
    ['run bridge', 1, 20, 70],
    ['spawned', 2, 13, 13],
    ['identity', 0, 80, 95],
  ),
};
const create: CallTrace = {
  rpc: 'CreateContainer',
  code: 'OK',
  startedAtNs: '1700000000250000000',
  spans: spans(['CreateContainer', -1, 0, 40]),
};

test('the text has the calls in order, children below their parents', () => {
  const lines = callTreeText([create, run]).split('\n');
  const names = lines.filter((line) => /^ *[A-Za-z]/.test(line)).map((line) => line.replace(/ {2,}\d.*/, '').trimEnd());
  assert.deepEqual(names, [
    'RunPodSandbox OK at 2023-11-14T22:13:20.000Z',
    'RunPodSandbox',
    '  network',
    '    run bridge',
    '  vm',
    '    spawned',
    '  identity',
    'CreateContainer OK at 2023-11-14T22:13:20.250Z',
    'CreateContainer',
  ]);
});

test('what runs beside gets a row of its own, what is nested or later does not', () => {
  const rows = new Map(rowsOf(run.spans).map(({ span, row }) => [span.name, row]));
  assert.deepEqual(Object.fromEntries(rows), {
    RunPodSandbox: 0,
    network: 0,
    'run bridge': 0,
    vm: 1,
    spawned: 1,
    identity: 0,
  });
});

test('Chrome’s format has whole microseconds, instants, and later calls further on', () => {
  const { traceEvents } = chromeTrace('abc', [create, run]);
  const find = (name: string) => traceEvents.find((event) => event.name === name);
  assert.deepEqual([find('RunPodSandbox')?.ts, find('RunPodSandbox')?.dur], [0, 100_000]);
  assert.equal(find('CreateContainer')?.ts, 250_000);
  assert.deepEqual([find('spawned')?.ph, find('spawned')?.tid], ['i', 1]);
  assert.deepEqual(find('process_name')?.args, { name: 'pod abc' });
  for (const { ts = 0, dur = 0 } of traceEvents) assert.ok(Number.isInteger(ts) && Number.isInteger(dur));
});

test('a trace of which parents are missing or circular is shown as far as it goes', () => {
  const broken = { ...create, spans: spans(['first', -1, 0, 5], ['lost', 7, 1, 2], ['self', 2, 1, 2]) };
  assert.match(callTreeText([broken]), /first/);
  assert.ok(chromeTrace('abc', [broken]).traceEvents.length > 0);
});
