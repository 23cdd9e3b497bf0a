import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explainCalls, explainCpu, explainMemory } from './explain.ts';
import { type Process, readProcesses } from './processes.ts';
import type { PodTrace } from './results.ts';

const process_ = (pid: number, name: string, ownCpuMs: number): [number, Process] => [
  pid,
  { pid, name, ownCpuMs, cpuMs: ownCpuMs, parent: 1, session: 1, startTicks: '1' },
];

test('time is told by program, the busiest first, of what ran meanwhile', () => {
  const before = new Map([process_(1, 'qemu', 100), process_(2, 'qemu', 100), process_(3, 'huskd', 500)]);
  const now = new Map([process_(1, 'qemu', 120), process_(2, 'qemu', 140), process_(3, 'huskd', 510)]);
  assert.equal(
    explainCpu(before, now, [1, 2, 3, 4], 1_000),
    'qemu × 2: 60 ms of CPU, 3.00 % of a core each\nhuskd × 1: 10 ms of CPU, 1.00 % of a core each',
  );
});

test('memory is told by program', () => {
  assert.match(explainMemory(readProcesses(), [process.pid]), /^\S+ × 1: RSS \d+\.\d MB, \d+\.\d each$/);
});

test('calls are told by their steps, of several the last', () => {
  const span = (name: string): object => ({
    index: 0,
    parent: -1,
    name,
    startMs: 0,
    endMs: 5,
    failed: false,
    attributes: {},
  });
  const call = (rpc: string, name: string): object => ({ rpc, code: 'OK', startedAtNs: '1', spans: [span(name)] });
  const calls = [call('StopPodSandbox', 'stop'), call('ExecSync', 'first'), call('ExecSync', 'second')];
  const trace = { podId: 'p', readyMs: 1, calls } as unknown as PodTrace;
  assert.match(explainCalls('exec', trace), /^ExecSync OK at .*\nsecond +0\.0 +5\.0 ms/);
  assert.match(explainCalls('stop-remove', trace), /^StopPodSandbox/);
  assert.equal(explainCalls('pull', trace), '');
  assert.equal(explainCalls('run', undefined), '');
});
