import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type RunReport, readGinkgoReport, refusals, specTable, summaryTable, tally } from './report.ts';

function reportOf(specs: readonly object[]): string {
  return JSON.stringify([{ SuiteConfig: { RandomSeed: 7 }, RunTime: 90e9, SpecReports: specs }]);
}

function spec(name: string, state: string, message = ''): object {
  const failure = message === '' ? {} : { Failure: { Message: message } };
  return {
    ContainerHierarchyTexts: ['[k8s.io] Container'],
    LeafNodeType: 'It',
    LeafNodeText: name,
    State: state,
    RunTime: 2e9,
    ...failure,
  };
}

const mixed = [
  spec('starts', 'passed'),
  spec('stops', 'failed', 'expected 0'),
  spec('hangs', 'timedout'),
  spec('sleeps', 'skipped', 'no such feature'),
  spec('public image with digest should be pulled and removed [Conformance]', 'skipped'),
  spec('benchmark about containers', 'skipped'),
  { LeafNodeType: 'BeforeSuite', State: 'passed', ContainerHierarchyTexts: null, LeafNodeText: '', RunTime: 1 },
];

test('whatever failed, and a skip that nobody expected, is unexpected', () => {
  const { specs, seed, seconds } = readGinkgoReport(reportOf(mixed), false);
  assert.deepEqual([seed, seconds], [7, 90]);
  assert.deepEqual(tally(specs), { passed: 1, failed: 2, skipped: 2 });
  const unexpected = specs.filter((outcome) => outcome.unexpected).map(({ name, reason }) => `${name}: ${reason}`);
  assert.deepEqual(unexpected, [
    '[k8s.io] Container hangs: timedout',
    '[k8s.io] Container sleeps: no such feature',
    '[k8s.io] Container stops: expected 0',
  ]);
});

test('what the whole suite could not even begin counts as failed', () => {
  const broken = { LeafNodeType: 'BeforeSuite', State: 'failed', ContainerHierarchyTexts: null, LeafNodeText: '' };
  const { specs } = readGinkgoReport(reportOf([{ ...broken, RunTime: 1, Failure: { Message: 'no runtime' } }]), false);
  assert.deepEqual(tally(specs), { passed: 0, failed: 1, skipped: 0 });
});

test('with a focus, what it left out is not in the report; a skip of its own is', () => {
  const { specs } = readGinkgoReport(
    reportOf([spec('starts', 'passed'), spec('else', 'skipped'), spec('sleeps', 'skipped', 'no such feature')]),
    true,
  );
  assert.deepEqual(
    specs.map(({ state }) => state),
    ['skipped', 'passed'],
  );
});

test('a report without a suite is refused', () => {
  assert.throws(() => readGinkgoReport('[]', false), /no suite/);
});

test('errors of the runtime are told once, with their number', () => {
  const id = 'a'.repeat(64);
  const line = (more: string): string =>
    `•E1125 10:17:21.7 29248 remote_runtime.go:410] "CreateContainer from runtime service failed" err="rpc error: code = InvalidArgument desc = field \\"x\\": ${more}" podSandboxID="${id}"`;
  assert.deepEqual(refusals([line('no'), line('no'), line(`of ${id}`), 'else'].join('\n')), [
    '   1 x CreateContainer from runtime service: rpc error: code = InvalidArgument desc = field "x": of ID',
    '   2 x CreateContainer from runtime service: rpc error: code = InvalidArgument desc = field "x": no',
  ]);
});

test('the tables name reasons, and the specs on which runs differ', () => {
  const ours = readGinkgoReport(reportOf(mixed), false);
  const peer = readGinkgoReport(reportOf([spec('starts', 'failed', 'x'), spec('hangs', 'timedout')]), false);
  assert.match(specTable(ours), /failed .* stops\n {10}\| expected 0/);
  const runs = new Map<string, RunReport>([
    ['husk', ours],
    ['peer', peer],
  ]);
  const table = summaryTable(runs);
  assert.match(table, /^husk +5 +1 +2 +2 +90 {2}7$/m);
  assert.match(table, /^differs: .* starts: husk passed, peer failed$/m);
  assert.ok(!table.includes('hangs'));
});
