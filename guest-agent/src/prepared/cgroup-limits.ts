/** The cgroup v2 files that runC would have written for a container's resources. Pure. */
import type { OciResources } from '../../../src/oci/runtime-spec.ts';

const defaultPeriod = 100_000;

/** File and text, in runC's order (libcontainer/cgroups/fs2). */
export function cgroupLimits(resources: OciResources): [string, string][] {
  return [
    ...memoryLimits(resources.memory ?? {}),
    ...cpuLimits(resources.cpu ?? {}),
    ...set('pids.max', limitText(resources.pids?.limit ?? 0)),
    ...(resources.hugepageLimits ?? []).map(({ pageSize, limit }): [string, string] => [
      `hugetlb.${pageSize}.max`,
      String(limit),
    ]),
    ...Object.entries(resources.unified ?? {}),
  ];
}

function memoryLimits({ limit = 0, swap = 0 }: NonNullable<OciResources['memory']>): [string, string][] {
  return [...set('memory.swap.max', swapText(limit, swap)), ...set('memory.max', limitText(limit))];
}

/** The spec counts memory and swap together, the kernel swap alone. */
function swapText(limit: number, swap: number): string {
  if (swap === 0) return limit === -1 ? 'max' : '';
  if (swap === -1) return 'max';
  return limit > 0 ? String(swap - limit) : '';
}

function cpuLimits(cpu: NonNullable<OciResources['cpu']>): [string, string][] {
  const { shares = 0, quota = 0, period = 0, cpus = '', mems = '' } = cpu;
  const weight = shares === 0 ? '' : String(1 + Math.floor(((shares - 2) * 9999) / 262_142));
  const max = quota === 0 && period === 0 ? '' : `${quota > 0 ? quota : 'max'} ${period || defaultPeriod}`;
  return [
    ...set('cpu.weight', weight),
    ...set('cpu.max', max),
    ...set('cpuset.cpus', cpus),
    ...set('cpuset.mems', mems),
  ];
}

function limitText(limit: number): string {
  return limit === 0 ? '' : limit === -1 ? 'max' : String(limit);
}

function set(file: string, text: string): [string, string][] {
  return text === '' ? [] : [[file, text]];
}
