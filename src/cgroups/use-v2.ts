/**
 * What a cgroup used, read from its files: cgroup v2. Used on hosts and, by the agent, in guests.
 *
 * @see https://docs.kernel.org/admin-guide/cgroup-v2.html
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CgroupUse, DeviceUse, Pressure, PressureLine } from '../gen/agent/v1/agent.ts';
import { countProcesses, flatKeys, hugetlbFiles, numberOf } from './use-files.ts';

/** One cgroup, by its directory. A cgroup that is gone used nothing: every part is absent then. */
export async function readUseV2(path: string): Promise<CgroupUse> {
  const read = (file: string): Promise<string | undefined> =>
    readFile(join(path, file), 'latin1').catch(() => undefined);
  const files = ['cpu.stat', 'cpu.pressure', 'memory.stat', 'memory.current', 'memory.events', 'memory.swap.current'];
  const more = ['memory.peak', 'memory.max', 'memory.pressure', 'io.stat', 'io.pressure', 'pids.current', 'pids.max'];
  const texts = await Promise.all([...files, ...more].map(read));
  const [cpu, cpuPressure, memory, current, events, swap, ...rest] = texts;
  const [peak, max, memoryPressure, io, ioPressure, threads, maxThreads] = rest;
  return {
    cpu: cpu === undefined ? undefined : { ...parseCpuStat(cpu), pressure: parsePressure(cpuPressure) },
    memory:
      memory === undefined || current === undefined
        ? undefined
        : { ...memoryOf({ memory, current, events, swap, peak, max }), pressure: parsePressure(memoryPressure) },
    io: io === undefined ? undefined : { devices: parseIoStat(io), pressure: parsePressure(ioPressure) },
    pids:
      threads === undefined
        ? undefined
        : {
            processes: await countProcesses(path),
            threads: numberOf(threads),
            maxThreads: numberOf(maxThreads),
          },
    hugetlb: await hugetlbFiles(path, { usage: 'current', max: undefined }),
  };
}

/** cpu.stat: microseconds become nanoseconds. */
export function parseCpuStat(text: string): Omit<NonNullable<CgroupUse['cpu']>, 'pressure'> {
  const keys = flatKeys(text);
  const of = (key: string): bigint => keys.get(key) ?? 0n;
  return {
    usageNs: of('usage_usec') * 1000n,
    userNs: of('user_usec') * 1000n,
    systemNs: of('system_usec') * 1000n,
    periods: of('nr_periods'),
    throttledPeriods: of('nr_throttled'),
    throttledNs: of('throttled_usec') * 1000n,
  };
}

interface MemoryFiles {
  readonly memory: string;
  readonly current: string;
  readonly events: string | undefined;
  readonly swap: string | undefined;
  readonly peak: string | undefined;
  readonly max: string | undefined;
}

function memoryOf(files: MemoryFiles): Omit<NonNullable<CgroupUse['memory']>, 'pressure'> {
  const stat = flatKeys(files.memory);
  const events = flatKeys(files.events ?? '');
  const usageBytes = numberOf(files.current);
  const inactive = stat.get('inactive_file') ?? 0n;
  return {
    usageBytes,
    workingSetBytes: usageBytes > inactive ? usageBytes - inactive : 0n,
    rssBytes: stat.get('anon') ?? 0n,
    cacheBytes: stat.get('file') ?? 0n,
    mappedFileBytes: stat.get('file_mapped') ?? 0n,
    kernelBytes: stat.get('kernel') ?? 0n,
    swapBytes: numberOf(files.swap),
    maxUsageBytes: numberOf(files.peak),
    limitBytes: numberOf(files.max),
    limitHits: events.get('max') ?? 0n,
    pageFaults: stat.get('pgfault') ?? 0n,
    majorPageFaults: stat.get('pgmajfault') ?? 0n,
    oomKills: events.get('oom_kill') ?? 0n,
  };
}

/** io.stat: a line for each device, `8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...`. */
export function parseIoStat(text: string): DeviceUse[] {
  return text.split('\n').flatMap((line) => {
    const [, major, minor, rest = ''] = /^([0-9]+):([0-9]+)(.*)$/.exec(line) ?? [];
    if (major === undefined || minor === undefined) return [];
    const of = (key: string): bigint => BigInt(new RegExp(` ${key}=([0-9]+)`).exec(rest)?.[1] ?? 0);
    return [
      {
        major: Number(major),
        minor: Number(minor),
        readBytes: of('rbytes'),
        writeBytes: of('wbytes'),
        reads: of('rios'),
        writes: of('wios'),
      },
    ];
  });
}

/** A pressure file; undefined where the kernel has none, or has it switched off. */
export function parsePressure(text: string | undefined): Pressure | undefined {
  const some = pressureLine(text, 'some');
  const full = pressureLine(text, 'full');
  return some === undefined && full === undefined ? undefined : { some, full };
}

function pressureLine(text: string | undefined, name: 'some' | 'full'): PressureLine | undefined {
  const pattern = new RegExp(`^${name} avg10=([0-9.]+) avg60=([0-9.]+) avg300=([0-9.]+) total=([0-9]+)$`, 'm');
  const [, avg10, avg60, avg300, total] = pattern.exec(text ?? '') ?? [];
  if (total === undefined) return undefined;
  return { totalUs: BigInt(total), avg10: Number(avg10), avg60: Number(avg60), avg300: Number(avg300) };
}
