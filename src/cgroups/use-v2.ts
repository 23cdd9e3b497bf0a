/**
 * What a cgroup used, read from its files: cgroup v2. Used on hosts and, by the agent, in guests.
 *
 * @see https://docs.kernel.org/admin-guide/cgroup-v2.html
 */
import { join } from 'node:path';
import type { CgroupUse, DeviceUse, Pressure, PressureLine } from '../gen/agent/v1/agent.ts';
import { countProcesses, flatKey, hugetlbFiles, numberOf, textOf } from './use-files.ts';

/** One cgroup, by its directory. A cgroup that is gone used nothing: every part is absent then. */
export function readUseV2(path: string): CgroupUse {
  const read = (file: string): string | undefined => textOf(join(path, file));
  const [cpu, memory, io, threads] = [read('cpu.stat'), memoryOf(read), read('io.stat'), read('pids.current')];
  const pressure = (resource: string): Pressure | undefined => parsePressure(read(`${resource}.pressure`));
  return {
    cpu: cpu === undefined ? undefined : { ...parseCpuStat(cpu), pressure: pressure('cpu') },
    memory: memory === undefined ? undefined : { ...memory, pressure: pressure('memory') },
    io: io === undefined ? undefined : { devices: parseIoStat(io), pressure: pressure('io') },
    pids:
      threads === undefined
        ? undefined
        : { processes: countProcesses(path), threads: numberOf(threads), maxThreads: numberOf(read('pids.max')) },
    hugetlb: hugetlbFiles(path, { usage: 'current', max: undefined }),
  };
}

/** cpu.stat: microseconds become nanoseconds. */
export function parseCpuStat(text: string): Omit<NonNullable<CgroupUse['cpu']>, 'pressure'> {
  const of = (key: string): bigint => flatKey(text, key);
  return {
    usageNs: of('usage_usec') * 1000n,
    userNs: of('user_usec') * 1000n,
    systemNs: of('system_usec') * 1000n,
    periods: of('nr_periods'),
    throttledPeriods: of('nr_throttled'),
    throttledNs: of('throttled_usec') * 1000n,
  };
}

type Memory = Omit<NonNullable<CgroupUse['memory']>, 'pressure'>;

function memoryOf(read: (file: string) => string | undefined): Memory | undefined {
  const [stat, current] = [read('memory.stat'), read('memory.current')];
  if (stat === undefined || current === undefined) return undefined;
  const events = read('memory.events');
  const usageBytes = numberOf(current);
  const inactive = flatKey(stat, 'inactive_file');
  return {
    usageBytes,
    workingSetBytes: usageBytes > inactive ? usageBytes - inactive : 0n,
    rssBytes: flatKey(stat, 'anon'),
    cacheBytes: flatKey(stat, 'file'),
    mappedFileBytes: flatKey(stat, 'file_mapped'),
    kernelBytes: flatKey(stat, 'kernel'),
    swapBytes: numberOf(read('memory.swap.current')),
    maxUsageBytes: numberOf(read('memory.peak')),
    limitBytes: numberOf(read('memory.max')),
    limitHits: flatKey(events, 'max'),
    pageFaults: flatKey(stat, 'pgfault'),
    majorPageFaults: flatKey(stat, 'pgmajfault'),
    oomKills: flatKey(events, 'oom_kill'),
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
