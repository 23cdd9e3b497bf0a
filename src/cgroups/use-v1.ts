/**
 * What a cgroup used, read from its files: cgroup v1, one directory per controller.
 *
 * @see https://docs.kernel.org/admin-guide/cgroup-v1/index.html
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CgroupUse, DeviceUse } from '../gen/agent/v1/agent.ts';
import { countProcesses, flatKeys, hugetlbFiles, numberOf } from './use-files.ts';

/** Without a limit, v1 shows the highest number of pages that a counter holds. */
const noLimitBytes = 0x7fff_ffff_0000_0000n;
/** USER_HZ, what cpuacct.stat counts in: the same on every architecture that Linux runs on today. */
const nsPerTick = 10_000_000n;

type Read = (controller: string, file: string) => Promise<string | undefined>;

/**
 * One cgroup, by its directories. A controller that is not among them leaves its part out.
 *
 * @param directories controller's name to directory
 */
export async function readUseV1(directories: ReadonlyMap<string, string>): Promise<CgroupUse> {
  const read: Read = async (controller, file) => {
    const directory = directories.get(controller);
    if (directory === undefined) return undefined;
    return await readFile(join(directory, file), 'latin1').catch(() => undefined);
  };
  const hugetlb = directories.get('hugetlb');
  return {
    cpu: await cpuOf(read),
    memory: await memoryOf(read),
    io: await ioOf(read),
    pids: await pidsOf(read, directories.get('pids')),
    hugetlb:
      hugetlb === undefined ? [] : await hugetlbFiles(hugetlb, { usage: 'usage_in_bytes', max: 'max_usage_in_bytes' }),
  };
}

async function cpuOf(read: Read): Promise<CgroupUse['cpu']> {
  const [usage, ticks, stat] = await Promise.all([
    read('cpuacct', 'cpuacct.usage'),
    read('cpuacct', 'cpuacct.stat'),
    read('cpu', 'cpu.stat'),
  ]);
  if (usage === undefined) return undefined;
  const [spent, limits] = [flatKeys(ticks ?? ''), flatKeys(stat ?? '')];
  return {
    usageNs: numberOf(usage),
    userNs: (spent.get('user') ?? 0n) * nsPerTick,
    systemNs: (spent.get('system') ?? 0n) * nsPerTick,
    periods: limits.get('nr_periods') ?? 0n,
    throttledPeriods: limits.get('nr_throttled') ?? 0n,
    throttledNs: limits.get('throttled_time') ?? 0n,
    pressure: undefined,
  };
}

async function memoryOf(read: Read): Promise<CgroupUse['memory']> {
  const files = ['usage_in_bytes', 'max_usage_in_bytes', 'limit_in_bytes', 'failcnt', 'kmem.usage_in_bytes'];
  const [usage, max, limit, hits, kernel] = await Promise.all(files.map((file) => read('memory', `memory.${file}`)));
  const [statText, oom] = [await read('memory', 'memory.stat'), await read('memory', 'memory.oom_control')];
  if (usage === undefined || statText === undefined) return undefined;
  const stat = flatKeys(statText);
  const of = (key: string): bigint => stat.get(`total_${key}`) ?? 0n;
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
    oomKills: flatKeys(oom ?? '').get('oom_kill') ?? 0n,
    pressure: undefined,
  };
}

async function ioOf(read: Read): Promise<CgroupUse['io']> {
  const [bytes, operations] = await Promise.all([
    read('blkio', 'blkio.throttle.io_service_bytes_recursive'),
    read('blkio', 'blkio.throttle.io_serviced_recursive'),
  ]);
  if (bytes === undefined) return undefined;
  return { devices: parseBlkio(bytes, operations ?? ''), pressure: undefined };
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

async function pidsOf(read: Read, directory: string | undefined): Promise<CgroupUse['pids']> {
  const [threads, max] = await Promise.all([read('pids', 'pids.current'), read('pids', 'pids.max')]);
  if (directory === undefined || threads === undefined) return undefined;
  return { processes: await countProcesses(directory), threads: numberOf(threads), maxThreads: numberOf(max) };
}
