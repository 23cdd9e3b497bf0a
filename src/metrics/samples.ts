/** What was measured, as samples of the metrics. Pure. */
import type { InterfaceUse } from '../base/interface-use.ts';
import type { CgroupUse, ContainerUse, DeviceUse, Pressure } from '../gen/agent/v1/agent.ts';

/** One value of a metric. CRI has whole numbers only: seconds are rounded down. */
export interface Sample {
  readonly name: string;
  /** Values of the metric's own labels, in the descriptor's order. */
  readonly labels: readonly string[];
  readonly value: bigint;
}

/** Limits of a container, zero where there is none. */
export interface SpecLimits {
  readonly cpuPeriod: bigint;
  readonly cpuQuota: bigint;
  readonly cpuShares: bigint;
  readonly memoryBytes: bigint;
  readonly memoryReservationBytes: bigint;
  readonly memorySwapBytes: bigint;
}

const nsPerSecond = 1_000_000_000n;
const usPerSecond = 1_000_000n;

/** Of a container. */
export function containerSamples(container: {
  readonly use: ContainerUse;
  readonly limits: SpecLimits;
  readonly startedAtNs: bigint;
  readonly atNs: bigint;
  /** What the container's file system is called. */
  readonly device: string;
}): Sample[] {
  const { use, limits, startedAtNs, atNs, device } = container;
  return [
    ...cgroupSamples(use.cgroup),
    ...filesystemSamples(use, device),
    ...plain('container_', {
      last_seen: atNs / nsPerSecond,
      start_time_seconds: startedAtNs / nsPerSecond,
      spec_cpu_period: limits.cpuPeriod,
      spec_cpu_quota: limits.cpuQuota,
      spec_cpu_shares: limits.cpuShares,
      spec_memory_limit_bytes: limits.memoryBytes,
      spec_memory_reservation_limit_bytes: limits.memoryReservationBytes,
      spec_memory_swap_limit_bytes: limits.memorySwapBytes,
    }),
    ...processSamples(use),
  ];
}

/** Of a cgroup: a container's, or a whole pod's. */
export function cgroupSamples(cgroup: CgroupUse | undefined): Sample[] {
  if (cgroup === undefined) return [];
  const { cpu, memory, io, pids, hugetlb } = cgroup;
  return [
    ...(cpu === undefined ? [] : cpuSamples(cpu)),
    ...(memory === undefined ? [] : memorySamples(memory)),
    ...(io?.devices ?? []).flatMap(blkioSamples),
    ...pressureSamples('io', io?.pressure),
    ...hugetlb.flatMap(({ pageSize, usageBytes, maxUsageBytes }) => [
      { name: 'container_hugetlb_usage_bytes', labels: [pageSize], value: usageBytes },
      { name: 'container_hugetlb_max_usage_bytes', labels: [pageSize], value: maxUsageBytes },
    ]),
    ...(pids === undefined
      ? []
      : plain('container_', { processes: pids.processes, threads: pids.threads, threads_max: pids.maxThreads })),
  ];
}

/** Of the pod's interfaces. */
export function networkSamples(interfaces: readonly InterfaceUse[]): Sample[] {
  return interfaces.flatMap((nic) =>
    Object.entries({
      receive_bytes_total: nic.rxBytes,
      receive_packets_total: nic.rxPackets,
      receive_errors_total: nic.rxErrors,
      receive_packets_dropped_total: nic.rxDropped,
      transmit_bytes_total: nic.txBytes,
      transmit_packets_total: nic.txPackets,
      transmit_errors_total: nic.txErrors,
      transmit_packets_dropped_total: nic.txDropped,
    }).map(([name, value]) => ({ name: `container_network_${name}`, labels: [nic.name], value })),
  );
}

function cpuSamples(cpu: NonNullable<CgroupUse['cpu']>): Sample[] {
  return [
    { name: 'container_cpu_usage_seconds_total', labels: ['total'], value: cpu.usageNs / nsPerSecond },
    ...plain('container_cpu_', {
      user_seconds_total: cpu.userNs / nsPerSecond,
      system_seconds_total: cpu.systemNs / nsPerSecond,
      cfs_periods_total: cpu.periods,
      cfs_throttled_periods_total: cpu.throttledPeriods,
      cfs_throttled_seconds_total: cpu.throttledNs / nsPerSecond,
    }),
    ...pressureSamples('cpu', cpu.pressure),
  ];
}

function memorySamples(memory: NonNullable<CgroupUse['memory']>): Sample[] {
  const failures = [
    ['pgfault', memory.pageFaults],
    ['pgmajfault', memory.majorPageFaults],
  ] as const;
  return [
    ...plain('container_memory_', {
      cache: memory.cacheBytes,
      failcnt: memory.limitHits,
      kernel_usage: memory.kernelBytes,
      mapped_file: memory.mappedFileBytes,
      // Kernels before 5.19 keep no highest use in cgroup v2.
      max_usage_bytes: memory.maxUsageBytes === 0n ? memory.usageBytes : memory.maxUsageBytes,
      rss: memory.rssBytes,
      swap: memory.swapBytes,
      usage_bytes: memory.usageBytes,
      working_set_bytes: memory.workingSetBytes,
    }),
    // What the kernel counts holds for the whole hierarchy below, too.
    ...failures.flatMap(([type, value]) =>
      ['container', 'hierarchy'].map((scope) => ({
        name: 'container_memory_failures_total',
        labels: [type, scope],
        value,
      })),
    ),
    { name: 'container_oom_events_total', labels: [], value: memory.oomKills },
    ...pressureSamples('memory', memory.pressure),
  ];
}

function blkioSamples({ major, minor, readBytes, writeBytes, reads, writes }: DeviceUse): Sample[] {
  const device = `${major}:${minor}`;
  const usage = [
    ['Read', readBytes],
    ['Write', writeBytes],
  ] as const;
  return [
    ...usage.map(([operation, value]) => ({
      name: 'container_blkio_device_usage_total',
      labels: [device, String(major), String(minor), operation],
      value,
    })),
    { name: 'container_fs_reads_bytes_total', labels: [device], value: readBytes },
    { name: 'container_fs_writes_bytes_total', labels: [device], value: writeBytes },
    { name: 'container_fs_reads_total', labels: [device], value: reads },
    { name: 'container_fs_writes_total', labels: [device], value: writes },
  ];
}

function filesystemSamples({ writableLayer: layer }: ContainerUse, device: string): Sample[] {
  if (layer === undefined) return [];
  return Object.entries({
    usage_bytes: layer.usedBytes,
    limit_bytes: layer.totalBytes,
    inodes_free: layer.freeInodes,
    inodes_total: layer.totalInodes,
  }).map(([name, value]) => ({ name: `container_fs_${name}`, labels: [device], value }));
}

function processSamples({ processes }: ContainerUse): Sample[] {
  if (processes === undefined) return [];
  return [
    ...plain('container_', { file_descriptors: processes.fileDescriptors, sockets: processes.sockets }),
    { name: 'container_ulimits_soft', labels: ['max_open_files'], value: processes.openFilesLimit },
  ];
}

function pressureSamples(resource: 'cpu' | 'memory' | 'io', pressure: Pressure | undefined): Sample[] {
  if (pressure === undefined) return [];
  return plain(`container_pressure_${resource}_`, {
    waiting_seconds_total: (pressure.some?.totalUs ?? 0n) / usPerSecond,
    stalled_seconds_total: (pressure.full?.totalUs ?? 0n) / usPerSecond,
  });
}

function plain(prefix: string, values: Readonly<Record<string, bigint>>): Sample[] {
  return Object.entries(values).map(([name, value]) => ({ name: `${prefix}${name}`, labels: [], value }));
}
