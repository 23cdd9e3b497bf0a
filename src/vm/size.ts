/** How big a pod's VM is. Pure. */
import type { LinuxContainerResources } from '../gen/cri/v1/api.ts';
import type { VmSize } from './options.ts';

const mib = 1024 * 1024;
/** What the guest's kernel, agent and page cache want beside the pod's own limit. */
const guestReserveMiB = 192;
/** What QEMU needs beside the guest's memory: its own heap, its translation cache, its stack. */
const vmmOverheadMiB = 256;

/**
 * The size for a pod: the node's default, or the next size that holds the pod's limits.
 * Sizes double, so that few templates serve all pods.
 *
 * @param resources the sum of the pod's containers, as the kubelet sends it; undefined: no limit known
 */
export function vmSize(resources: LinuxContainerResources | undefined, smallest: VmSize, hostCpus: number): VmSize {
  const limitMiB = resources === undefined ? 0 : Number(resources.memoryLimitInBytes) / mib;
  const wanted = limitMiB > 0 ? limitMiB + guestReserveMiB : 0;
  let memoryMiB = smallest.memoryMiB;
  while (memoryMiB < wanted) memoryMiB *= 2;
  const quota = Number(resources?.cpuQuota ?? 0n);
  const period = Number(resources?.cpuPeriod ?? 0n);
  const asked = quota > 0 && period > 0 ? Math.ceil(quota / period) : 0;
  return { vcpus: Math.min(Math.max(asked, smallest.vcpus), Math.max(hostCpus, 1)), memoryMiB };
}

/** The memory limit of the pod's cgroup: the guest and what surrounds it. */
export function cgroupMemoryBytes(size: VmSize): number {
  return (size.memoryMiB + vmmOverheadMiB) * mib;
}
