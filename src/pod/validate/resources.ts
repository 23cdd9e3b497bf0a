/** Rules for CRI's LinuxContainerResources. Zero means that nothing is asked for. */
import type { LinuxContainerResources } from '../../gen/cri/v1/api.ts';
import { each, range, refuse, text, textMap } from './check.ts';
import { limits } from './limits.ts';

const maxInt64 = 2n ** 63n - 1n;
const cpuSet = { max: 1024, pattern: /^\d+(-\d+)?(,\d+(-\d+)?)*$/, wanted: 'a list such as "0-3,6"', optional: true };

/** @throws HuskError `invalid-argument` */
export function checkResources(path: string, resources: LinuxContainerResources | undefined): void {
  if (resources === undefined) return;
  // The kernel's bounds of cpu.cfs_period_us.
  if (resources.cpuPeriod !== 0n) range(`${path}.cpu_period`, resources.cpuPeriod, 1_000, 1_000_000);
  // -1 is how cgroups say "no quota"; below 1000 the kernel refuses.
  if (resources.cpuQuota !== 0n && resources.cpuQuota !== -1n) {
    range(`${path}.cpu_quota`, resources.cpuQuota, 1_000, maxInt64);
  }
  range(`${path}.cpu_shares`, resources.cpuShares, 0, 262_144);
  range(`${path}.memory_limit_in_bytes`, resources.memoryLimitInBytes, 0, maxInt64);
  range(`${path}.memory_swap_limit_in_bytes`, resources.memorySwapLimitInBytes, -1, maxInt64);
  range(`${path}.oom_score_adj`, resources.oomScoreAdj, -1000, 1000);
  text(`${path}.cpuset_cpus`, resources.cpusetCpus, cpuSet);
  text(`${path}.cpuset_mems`, resources.cpusetMems, cpuSet);
  each(`${path}.hugepage_limits`, resources.hugepageLimits, limits.hugepageLimits, (at, limit) => {
    text(`${at}.page_size`, limit.pageSize, { max: 16, pattern: /^\d+[KMG]B$/, wanted: 'a size such as "2MB"' });
  });
  textMap(`${path}.unified`, resources.unified, {
    entries: limits.unifiedEntries,
    key: { max: 128, pattern: /^[a-z0-9]+(\.[a-z0-9_]+)+$/, wanted: 'a cgroup file such as "memory.high"' },
    valueChars: 1024,
  });
  for (const [key, value] of Object.entries(resources.unified)) {
    if (value.includes('\0')) refuse(`${path}.unified["${key}"]`, value, 'holds a NUL');
  }
}
