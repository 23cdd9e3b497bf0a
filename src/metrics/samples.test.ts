import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CgroupUse, ContainerUse } from '../gen/agent/v1/agent.ts';
import { descriptors } from './descriptors.ts';
import { cgroupSamples, containerSamples, networkSamples, type Sample } from './samples.ts';

const line = { totalUs: 2_500_000n, avg10: 0, avg60: 0, avg300: 0 };
const pressure = { some: line, full: line };
const whole: CgroupUse = CgroupUse.fromPartial({
  cpu: { usageNs: 3_900_000_000n, periods: 2n, pressure },
  memory: { usageBytes: 10n, workingSetBytes: 8n, oomKills: 1n, pageFaults: 4n, pressure },
  io: { devices: [{ major: 254, minor: 16, readBytes: 5n, writeBytes: 6n }], pressure },
  pids: { processes: 1n, threads: 2n },
  hugetlb: [{ pageSize: '2MB', usageBytes: 7n }],
} as object);
const limits = {
  ...{ cpuPeriod: 1n, cpuQuota: 2n, cpuShares: 3n },
  ...{ memoryBytes: 4n, memoryReservationBytes: 0n, memorySwapBytes: 5n },
};

function all(): Sample[] {
  const use = ContainerUse.fromPartial({
    cgroup: whole,
    writableLayer: { usedBytes: 1n, totalBytes: 2n },
    processes: { fileDescriptors: 3n, sockets: 1n, openFilesLimit: 1024n },
  } as object);
  const nic = { rxBytes: 1n, rxPackets: 1n, rxErrors: 0n, rxDropped: 0n, txBytes: 1n, txPackets: 1n };
  return [
    ...containerSamples({ use, limits, startedAtNs: 9_000_000_000n, atNs: 12_000_000_000n, device: '/dev/vdb' }),
    ...networkSamples([{ name: 'eth0', ...nic, txErrors: 0n, txDropped: 2n }]),
  ];
}

function valueOf(samples: readonly Sample[], name: string, ...labels: string[]): bigint | undefined {
  return samples.find((each) => each.name === name && labels.every((label, at) => each.labels[at] === label))?.value;
}

test('there are 56 metrics, and a container whose kernel tells all has a value of each', () => {
  assert.equal(descriptors.size, 56);
  const names = new Set(all().map(({ name }) => name));
  assert.deepEqual(
    [...descriptors.keys()].filter((name) => !names.has(name)),
    [],
  );
});

test('every sample has a descriptor, and as many labels as it says', () => {
  for (const { name, labels } of all()) assert.equal(labels.length, descriptors.get(name)?.labels.length, name);
});

test('times are whole seconds, pressure in the words of cAdvisor', () => {
  const samples = all();
  assert.equal(valueOf(samples, 'container_cpu_usage_seconds_total', 'total'), 3n);
  assert.equal(valueOf(samples, 'container_pressure_io_waiting_seconds_total'), 2n);
  assert.equal(valueOf(samples, 'container_start_time_seconds'), 9n);
  assert.equal(valueOf(samples, 'container_blkio_device_usage_total', '254:16', '254', '16', 'Read'), 5n);
  assert.equal(valueOf(samples, 'container_network_transmit_packets_dropped_total', 'eth0'), 2n);
  assert.equal(valueOf(samples, 'container_memory_max_usage_bytes'), 10n);
});

test('what the kernel does not account has no sample', () => {
  assert.deepEqual(cgroupSamples(CgroupUse.fromPartial({})), []);
  assert.deepEqual(cgroupSamples(undefined), []);
});
