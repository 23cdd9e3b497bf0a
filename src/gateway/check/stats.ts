/** Checks of what a guest says that its containers used. It may lie about itself; a shape that no agent sends ends the link. */

import { isId } from '../../base/ids.ts';
import type {
  CgroupUse,
  ContainerUse,
  DeviceUse,
  HugetlbUse,
  Pressure,
  PressureLine,
  StatsResponse,
} from '../../gen/agent/v1/agent.ts';
import { protocolError } from './answers.ts';
import { cleanText } from './text.ts';

const maxContainers = 1_024;
const maxDevices = 256;
const maxPageSizes = 16;
/** Beyond it, numbers that are signed elsewhere would turn negative. */
const maxCounter = 2n ** 63n - 1n;

/** Wants each container once, every list short, every number one that can be. Containers that are not known are left out. */
export function checkStats(answer: StatsResponse, known: (id: string) => boolean): StatsResponse {
  const { containers } = answer;
  if (containers.length > maxContainers)
    throw protocolError(`statistics of ${containers.length} containers: want at most ${maxContainers}`);
  const seen = new Set<string>();
  const checked: ContainerUse[] = [];
  for (const container of containers) {
    const { containerId } = container;
    if (!isId(containerId)) throw protocolError(`statistics of "${cleanText(containerId, 80)}": no such id`);
    if (seen.has(containerId)) throw protocolError(`statistics of container "${containerId}" twice`);
    seen.add(containerId);
    if (known(containerId)) checked.push(checkContainer(container));
  }
  return { containers: checked };
}

function checkContainer({ containerId, cgroup, writableLayer, processes }: ContainerUse): ContainerUse {
  return {
    containerId,
    cgroup: cgroup && checkCgroup(cgroup),
    writableLayer: writableLayer && counters(writableLayer),
    processes: processes && counters(processes),
  };
}

function checkCgroup({ cpu, memory, io, pids, hugetlb }: CgroupUse): CgroupUse {
  const devices = io?.devices ?? [];
  if (devices.length > maxDevices)
    throw protocolError(`statistics of ${devices.length} devices: want at most ${maxDevices}`);
  if (hugetlb.length > maxPageSizes)
    throw protocolError(`statistics of ${hugetlb.length} page sizes: want at most ${maxPageSizes}`);
  return {
    cpu: cpu && { ...counters(cpu), pressure: checkPressure(cpu.pressure) },
    memory: memory && { ...counters(memory), pressure: checkPressure(memory.pressure) },
    io: io && { devices: devices.map((device): DeviceUse => counters(device)), pressure: checkPressure(io.pressure) },
    pids: pids && counters(pids),
    hugetlb: hugetlb.map(checkHugetlb),
  };
}

function checkHugetlb(use: HugetlbUse): HugetlbUse {
  if (!/^[1-9][0-9]{0,5}[KMG]B$/.test(use.pageSize))
    throw protocolError(`statistics of page size "${cleanText(use.pageSize, 20)}"`);
  return counters(use);
}

function checkPressure(pressure: Pressure | undefined): Pressure | undefined {
  return pressure && { some: checkLine(pressure.some), full: checkLine(pressure.full) };
}

function checkLine(line: PressureLine | undefined): PressureLine | undefined {
  if (line === undefined) return undefined;
  for (const average of [line.avg10, line.avg60, line.avg300]) {
    if (!(average >= 0 && average <= 100)) throw protocolError(`pressure of ${average}: want 0 to 100`);
  }
  return counters(line);
}

/** A copy of the message; every 64-bit number in it must fit a signed one. */
function counters<T extends object>(message: T): T {
  for (const [field, value] of Object.entries(message)) {
    if (typeof value === 'bigint' && value > maxCounter) throw protocolError(`statistics: ${field} is ${value}`);
  }
  return { ...message };
}
