import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ContainerUse, StatsResponse } from '../../gen/agent/v1/agent.ts';
import { checkStats } from './stats.ts';

const id = 'a'.repeat(64);
const all = (): boolean => true;

/** An answer of one container, with changes to its use. */
function answer(fields: object): StatsResponse {
  return { containers: [ContainerUse.fromPartial({ containerId: id, ...fields } as object)] };
}

test('an honest answer passes as it is, parts that are absent stay absent', () => {
  const honest = answer({
    cgroup: {
      cpu: { usageNs: 5n, pressure: { some: { totalUs: 7n, avg10: 99.5, avg60: 0, avg300: 0 } } },
      memory: { usageBytes: 1n, workingSetBytes: 1n },
      io: { devices: [{ major: 254, minor: 0, reads: 3n }] },
      hugetlb: [{ pageSize: '2MB', usageBytes: 0n, maxUsageBytes: 0n }],
    },
    writableLayer: { usedBytes: 4_096n, inodesUsed: 1n },
  });
  assert.deepEqual(checkStats(honest, all), honest);
  assert.deepEqual(checkStats(answer({}), all), answer({}));
});

test('a container that nobody knows is left out', () => {
  assert.deepEqual(
    checkStats(answer({}), () => false),
    { containers: [] },
  );
});

test('what no honest agent sends is refused by name', () => {
  const device = { major: 1, minor: 1 };
  const cases: [RegExp, StatsResponse][] = [
    [/no such id/, { containers: [ContainerUse.fromPartial({ containerId: '../x' })] }],
    [/twice/, { containers: [...answer({}).containers, ...answer({}).containers] }],
    [/1025 containers/, { containers: Array.from({ length: 1_025 }, () => ContainerUse.fromPartial({})) }],
    [/usageNs is 1844/, answer({ cgroup: { cpu: { usageNs: 2n ** 64n - 1n } } })],
    [/usedBytes is/, answer({ writableLayer: { usedBytes: 2n ** 63n } })],
    [/257 devices/, answer({ cgroup: { io: { devices: Array.from({ length: 257 }, () => device) } } })],
    [/reads is/, answer({ cgroup: { io: { devices: [{ ...device, reads: 2n ** 63n }] } } })],
    [/page size/, answer({ cgroup: { hugetlb: [{ pageSize: '2MB\n' }] } })],
    ...[Number.NaN, -1, 101, Number.POSITIVE_INFINITY].map((avg10): [RegExp, StatsResponse] => [
      /pressure of/,
      answer({ cgroup: { memory: { pressure: { full: { avg10 } } } } }),
    ]),
  ];
  for (const [pattern, bad] of cases) {
    assert.throws(() => checkStats(bad, all), { kind: 'data-loss', stage: 'agent-protocol', message: pattern });
  }
});
