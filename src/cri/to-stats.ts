/** What was measured, in the words of CRI. Pure. */

import type { InterfaceUse } from '../base/interface-use.ts';
import type { CgroupUse, ContainerUse, Pressure as GuestPressure, PressureLine } from '../gen/agent/v1/agent.ts';
import type {
  ContainerStats,
  CpuUsage,
  FilesystemUsage,
  IoUsage,
  LinuxPodSandboxStats,
  MemoryUsage,
  NetworkInterfaceUsage,
  PodSandboxStats,
  PsiData,
  PsiStats,
  SwapUsage,
  UInt64Value,
} from '../gen/cri/v1/api.ts';
import type { Measured } from '../pod/engine/stats-service.ts';
import type { ContainerRecord, SandboxRecord } from '../pod/records.ts';

/** A container's statistics; undefined when it was not there when its pod was looked at. */
export function containerStatsOf(record: ContainerRecord, measured: Measured): ContainerStats | undefined {
  const use = measured.use.containers.get(record.id);
  if (use === undefined) return undefined;
  const { atNs } = measured;
  const { id, metadata, labels, annotations } = record;
  return {
    attributes: { id, metadata, labels, annotations },
    cpu: cpuOf(use.cgroup, atNs, measured.nanoCores.get(id)),
    memory: memoryOf(use.cgroup, atNs),
    writableLayer: writableOf(use, measured),
    swap: swapOf(use.cgroup, atNs),
    io: ioOf(use.cgroup, atNs),
  };
}

/** A pod's statistics with those of its containers. */
export function sandboxStatsOf(
  record: SandboxRecord,
  containers: readonly ContainerRecord[],
  measured: Measured,
): PodSandboxStats {
  const { id, metadata, labels, annotations } = record;
  const { use, atNs } = measured;
  const [main, ...others] = use.interfaces.map(interfaceOf);
  const linux: LinuxPodSandboxStats = {
    cpu: cpuOf(use.pod, atNs, measured.nanoCores.get('')),
    memory: memoryOf(use.pod, atNs),
    network: main === undefined ? undefined : { timestamp: atNs, defaultInterface: main, interfaces: others },
    process: { timestamp: atNs, processCount: { value: processesOf(measured) } },
    containers: containers.flatMap((container) => containerStatsOf(container, measured) ?? []),
    io: ioOf(use.pod, atNs),
  };
  return { attributes: { id, metadata, labels, annotations }, linux, windows: undefined };
}

/** Of the containers: what a virtual machine's host sees are the hypervisor's own. */
function processesOf({ use }: Measured): bigint {
  let sum = 0n;
  for (const { cgroup } of use.containers.values()) sum += cgroup?.pids?.processes ?? 0n;
  return sum;
}

function cpuOf(cgroup: CgroupUse | undefined, timestamp: bigint, nanoCores: bigint | undefined): CpuUsage | undefined {
  const cpu = cgroup?.cpu;
  if (cpu === undefined) return undefined;
  return {
    timestamp,
    usageCoreNanoSeconds: { value: cpu.usageNs },
    usageNanoCores: nanoCores === undefined ? undefined : { value: nanoCores },
    psi: psiOf(cpu.pressure),
  };
}

function memoryOf(cgroup: CgroupUse | undefined, timestamp: bigint): MemoryUsage | undefined {
  const memory = cgroup?.memory;
  if (memory === undefined) return undefined;
  const { limitBytes, workingSetBytes } = memory;
  return {
    timestamp,
    workingSetBytes: { value: workingSetBytes },
    // Without a limit there is no saying what is available.
    availableBytes: limitBytes === 0n ? undefined : left(limitBytes, workingSetBytes),
    usageBytes: { value: memory.usageBytes },
    rssBytes: { value: memory.rssBytes },
    pageFaults: { value: memory.pageFaults },
    majorPageFaults: { value: memory.majorPageFaults },
    psi: psiOf(memory.pressure),
  };
}

function left(limit: bigint, used: bigint): UInt64Value {
  return { value: limit > used ? limit - used : 0n };
}

function swapOf(cgroup: CgroupUse | undefined, timestamp: bigint): SwapUsage | undefined {
  const memory = cgroup?.memory;
  if (memory === undefined) return undefined;
  return { timestamp, swapUsageBytes: { value: memory.swapBytes }, swapAvailableBytes: undefined };
}

function ioOf(cgroup: CgroupUse | undefined, timestamp: bigint): IoUsage | undefined {
  return cgroup?.io && { timestamp, psi: psiOf(cgroup.io.pressure) };
}

function writableOf({ writableLayer }: ContainerUse, { use, atNs }: Measured): FilesystemUsage | undefined {
  if (writableLayer === undefined) return undefined;
  return {
    timestamp: atNs,
    fsId: { mountpoint: use.writableFolder },
    usedBytes: { value: writableLayer.usedBytes },
    inodesUsed: { value: writableLayer.inodesUsed },
  };
}

function interfaceOf({ name, rxBytes, rxErrors, txBytes, txErrors }: InterfaceUse): NetworkInterfaceUsage {
  return {
    name,
    rxBytes: { value: rxBytes },
    rxErrors: { value: rxErrors },
    txBytes: { value: txBytes },
    txErrors: { value: txErrors },
  };
}

function psiOf(pressure: GuestPressure | undefined): PsiStats | undefined {
  return pressure && { Some: psiLine(pressure.some), Full: psiLine(pressure.full) };
}

/** CRI counts the total in microseconds, as the kernel does. */
function psiLine(line: PressureLine | undefined): PsiData | undefined {
  return line && { Total: line.totalUs, Avg10: line.avg10, Avg60: line.avg60, Avg300: line.avg300 };
}
