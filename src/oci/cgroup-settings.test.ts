import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LinuxContainerResources } from '../gen/cri/v1/api.ts';
import { cgroupSettings, weightOf } from './cgroup-settings.ts';

function filesOf(resources: object): Record<string, string> {
  const settings = cgroupSettings(LinuxContainerResources.fromPartial(resources));
  return Object.fromEntries(settings.map(({ file, value }) => [file, value]));
}

test('limits become files of cgroup v2, and what is not told is left alone', () => {
  assert.deepEqual(filesOf({}), {});
  assert.deepEqual(
    filesOf({
      cpuShares: 1024n,
      cpuQuota: 50_000n,
      cpuPeriod: 100_000n,
      memoryLimitInBytes: 1_048_576n,
      memorySwapLimitInBytes: 1_572_864n,
      cpusetCpus: '0-1',
      unified: { 'memory.low': '4096' },
    }),
    {
      'cpu.weight': '39',
      'cpu.max': '50000 100000',
      'cpuset.cpus': '0-1',
      'memory.swap.max': '524288',
      'memory.max': '1048576',
      'memory.low': '4096',
    },
  );
  assert.deepEqual(filesOf({ cpuQuota: -1n }), { 'cpu.max': 'max 100000' });
  assert.deepEqual(filesOf({ memorySwapLimitInBytes: -1n }), { 'memory.swap.max': 'max' });
});

test('shares become weights at both ends of their range', () => {
  assert.deepEqual([1, 2, 262_144, 1_000_000].map(weightOf), [1, 1, 10_000, 10_000]);
});

test('a limit of swap without one of memory, or below it, is refused', () => {
  assert.throws(() => filesOf({ memorySwapLimitInBytes: 5n }), { kind: 'invalid-argument', message: /memory limit/ });
  assert.throws(() => filesOf({ memorySwapLimitInBytes: 5n, memoryLimitInBytes: 6n }), { kind: 'invalid-argument' });
  assert.throws(() => filesOf({ memoryLimitInBytes: -5n }), { kind: 'invalid-argument' });
});
