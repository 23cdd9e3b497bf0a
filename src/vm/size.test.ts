import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LinuxContainerResources } from '../gen/cri/v1/api.ts';
import { cgroupMemoryBytes, vmSize } from './size.ts';

const smallest = { vcpus: 1, memoryMiB: 512 };
const size = (fields: object) => vmSize(LinuxContainerResources.fromPartial(fields), smallest, 4);

test('a pod without limits gets the default', () => {
  assert.deepEqual(vmSize(undefined, smallest, 4), smallest);
  assert.deepEqual(size({}), smallest);
});

test('a limit is met with room for the guest, in doubling steps', () => {
  assert.equal(size({ memoryLimitInBytes: 256n << 20n }).memoryMiB, 512);
  assert.equal(size({ memoryLimitInBytes: 512n << 20n }).memoryMiB, 1024);
  assert.equal(size({ memoryLimitInBytes: 3n << 30n }).memoryMiB, 4096);
});

test('a CPU quota is met by whole CPUs, never more than the host has', () => {
  assert.equal(size({ cpuQuota: 150_000n, cpuPeriod: 100_000n }).vcpus, 2);
  assert.equal(size({ cpuQuota: 900_000n, cpuPeriod: 100_000n }).vcpus, 4);
});

test('the cgroup holds the guest and the VMM', () => assert.equal(cgroupMemoryBytes(smallest), 768 * 1024 * 1024));
