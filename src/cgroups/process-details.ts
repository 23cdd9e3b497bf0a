/** What must be asked process by process: descriptors, sockets, limits. */
import { readdir, readFile, readlink } from 'node:fs/promises';
import type { ProcessesUse } from '../gen/agent/v1/agent.ts';
import { processesOf } from './use-files.ts';

/** A container with more is told to have at least what so many have. */
const maxProcesses = 64;
const maxDescriptors = 1_024;

/** Of the processes of a container's cgroup; in v1 of its directory in any one hierarchy. */
export async function processDetails(cgroup: string, firstPid: number): Promise<ProcessesUse> {
  let [descriptors, sockets] = [0, 0];
  for (const pid of processesOf(cgroup).slice(0, maxProcesses)) {
    const folder = `/proc/${pid}/fd`;
    const names = await readdir(folder).catch(() => []);
    descriptors += names.length;
    for (const name of names.slice(0, maxDescriptors)) {
      const target = await readlink(`${folder}/${name}`).catch(() => '');
      if (target.startsWith('socket:')) sockets += 1;
    }
  }
  const limits = await readFile(`/proc/${firstPid}/limits`, 'latin1').catch(() => '');
  return {
    fileDescriptors: BigInt(descriptors),
    sockets: BigInt(sockets),
    openFilesLimit: BigInt(/^Max open files +([0-9]+)/m.exec(limits)?.[1] ?? 0),
  };
}
