/**
 * What a cgroup used, read from its files: cgroup v1, one directory per controller.
 *
 * @see https://docs.kernel.org/admin-guide/cgroup-v1/index.html
 */
import { join } from 'node:path';
import type { CgroupUse, DeviceUse } from '../gen/agent/v1/agent.ts';
import { countProcesses, flatKey, hugetlbFiles, numberOf, textOf } from './use-files.ts';

/** Without a limit, v1 shows the highest number of pages that a counter holds. */
const noLimitBytes = 0x7fff_ffff_0000_0000n;
/** USER_HZ, what cpuacct.stat counts in: the same on every architecture that Linux runs on today. */
const nsPerTick = 10_000_000n;

type Read = (controller: string, file: string) => string | undefined;

/**
 * One cgroup, by its directories. A controller that is not among them leaves its part out.
 *
 * @param directories controller's name to directory
 */
export function readUseV1(directories: ReadonlyMap<string, string>): CgroupUse {
  const read: Read = (controller, file) => {
    const directory = directories.get(controller);
    return directory === undefined ? undefined : textOf(join(directory, file));
  };
  const hugetlb = directories.get('hugetlb');
  return {
    cpu: cpuOf(read),
    memory: memoryOf(read),
    io: ioOf(read),
    pids: pidsOf(read, directories.get('pids')),
    hugetlb: hugetlb === undefined ? [] : hugetlbFiles(hugetlb, { usage: 'usage_in_bytes', max: 'max_usage_in_bytes' }),
  };
}

function cpuOf(read: Read): CgroupUse['cpu'] {
  const usage = read('cpuacct', 'cpuacct.usage');
  if (usage === undefined) return undefined;
  const [spent, limits] = [read('cpuacct', 'cpuacct.stat'), read('cpu', 'cpu.stat')];
  return {
    usageNs: numberOf(usage),
    userNs: flatKey(spent, 'user') * nsPerTick,
    systemNs: flatKey(spent, 'system') * nsPerTick,
    periods: flatKey(limits, 'nr_periods'),
    throttledPeriods: flatKey(limits, 'nr_throttled'),
    throttledNs: flatKey(limits, 'throttled_time'),
    pressure: undefined,
  };
}

function memoryOf(read: Read): CgroupUse['memory'] {
  const files = ['usage_in_bytes', 'max_usage_in_bytes', 'limit_in_bytes', 'failcnt', 'kmem.usage_in_bytes'];
  const [usage, max, limit, hits, kernel] = files.map((file) => read('memory', `memory.${file}`));
  const stat = read('memory', 'memory.stat');
  if (usage === undefined || stat === undefined) return undefined;
  const of = (key: string): bigint => flatKey(stat, `total_${key}`);
  const usageBytes = numberOf(usage);
  const inactive = of('inactive_file');
  const limitBytes = numberOf(limit);
  return {
    usageBytes,
    workingSetBytes: usageBytes > inactive ? usageBytes - inactive : 0n,
    rssBytes: of('rss'),
    cacheBytes: of('cache'),
    mappedFileBytes: of('mapped_file'),
    kernelBytes: numberOf(kernel),
    swapBytes: of('swap'),
    maxUsageBytes: numberOf(max),
    limitBytes: limitBytes >= noLimitBytes ? 0n : limitBytes,
    limitHits: numberOf(hits),
    pageFaults: of('pgfault'),
    majorPageFaults: of('pgmajfault'),
    oomKills: flatKey(read('memory', 'memory.oom_control'), 'oom_kill'),
    pressure: undefined,
  };
}

function ioOf(read: Read): CgroupUse['io'] {
  const bytes = read('blkio', 'blkio.throttle.io_service_bytes_recursive');
  if (bytes === undefined) return undefined;
  const operations = read('blkio', 'blkio.throttle.io_serviced_recursive') ?? '';
  return { devices: parseBlkio(bytes, operations), pressure: undefined };
}

/** Lines like `8:0 Read 4096`; one more, `Total`, has no device. */
export function parseBlkio(bytes: string, operations: string): DeviceUse[] {
  const devices = new Map<string, DeviceUse>();
  for (const [text, fields] of [
    [bytes, ['readBytes', 'writeBytes']],
    [operations, ['reads', 'writes']],
  ] as const) {
    for (const [, major, minor, what, value = '0'] of text.matchAll(/^([0-9]+):([0-9]+) (Read|Write) ([0-9]+)$/gm)) {
      const key = `${major}:${minor}`;
      const none = { readBytes: 0n, writeBytes: 0n, reads: 0n, writes: 0n };
      const device = devices.get(key) ?? { major: Number(major), minor: Number(minor), ...none };
      device[what === 'Read' ? fields[0] : fields[1]] = BigInt(value);
      devices.set(key, device);
    }
  }
  return [...devices.values()];
}

function pidsOf(read: Read, directory: string | undefined): CgroupUse['pids'] {
  const threads = read('pids', 'pids.current');
  if (directory === undefined || threads === undefined) return undefined;
  const max = read('pids', 'pids.max');
  return { processes: countProcesses(directory), threads: numberOf(threads), maxThreads: numberOf(max) };
}
