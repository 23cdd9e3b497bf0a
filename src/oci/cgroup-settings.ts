/** CRI resource limits as files of cgroup v2, for a container that runs already. */
import { HuskError } from '../base/errors.ts';
import type { LinuxContainerResources } from '../gen/cri/v1/api.ts';
import { ociResources } from './resources.ts';

/** One file of a cgroup and what is to be written to it. */
export interface CgroupSetting {
  readonly file: string;
  readonly value: string;
}

/** The period of the CPU quota when none is told, in microseconds: the kernel's own. */
const defaultPeriodUs = 100_000;

/**
 * The limits in the order in which they are to be set. What is zero or empty in CRI means
 * "leave as it is".
 *
 * @throws HuskError `invalid-argument` for numbers that cannot be
 * @see https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#control-groups
 */
export function cgroupSettings(resources: LinuxContainerResources): CgroupSetting[] {
  const { cpu = {}, memory = {}, hugepageLimits = [], unified = {} } = ociResources(resources, false);
  const settings: CgroupSetting[] = [];
  const set = (file: string, value: string | number): void => void settings.push({ file, value: String(value) });
  if (cpu.shares !== undefined) set('cpu.weight', weightOf(cpu.shares));
  if (cpu.quota !== undefined || cpu.period !== undefined) {
    const quota = cpu.quota !== undefined && cpu.quota > 0 ? cpu.quota : 'max';
    set('cpu.max', `${quota} ${cpu.period ?? defaultPeriodUs}`);
  }
  if (cpu.cpus !== undefined) set('cpuset.cpus', cpu.cpus);
  if (cpu.mems !== undefined) set('cpuset.mems', cpu.mems);
  if (memory.swap !== undefined) set('memory.swap.max', swapOf(memory.swap, memory.limit));
  if (memory.limit !== undefined) set('memory.max', memory.limit);
  for (const { pageSize, limit } of hugepageLimits) set(`hugetlb.${pageSize}.max`, limit);
  for (const [file, value] of Object.entries(unified)) set(file, value);
  return settings;
}

/** Shares (2 to 262144, of v1) as a weight (1 to 10000), as the runtime spec says. */
export function weightOf(shares: number): number {
  const bounded = Math.min(Math.max(shares, 2), 262_144);
  return 1 + Math.floor(((bounded - 2) * 9_999) / 262_142);
}

/** v1's limit is that of memory and swap together; -1 is none. */
function swapOf(both: number, memory: number | undefined): number | 'max' {
  if (both === -1) return 'max';
  if (memory === undefined || both < memory) {
    throw new HuskError(
      'invalid-argument',
      `linux.memory_swap_limit_in_bytes "${both}": must come with a memory limit that is not above it`,
    );
  }
  return both - memory;
}
