import { readFileSync, writeFileSync } from 'node:fs';
import { HuskError } from '../../../src/base/errors.ts';
import type {
  CgroupSetting,
  UpdateContainerRequest,
  UpdateContainerResponse,
} from '../../../src/gen/agent/v1/agent.ts';
import type { Pod } from '../pod.ts';

/** Files of limits, and nothing that moves or kills processes. */
const settable = /^(cpu|memory|pids|io|hugetlb|cpuset|misc|rdma)\.[a-zA-Z0-9._]{1,64}$/;

/** UpdateContainer: sets the limits in order; when one is refused those before it are set back. */
export function updateContainer(pod: Pod, request: UpdateContainerRequest): Promise<UpdateContainerResponse> {
  return pod.locks.run(request.containerId, async () => {
    const { parts, state } = pod.container(request.containerId);
    if (state === 'exited') throw new HuskError('failed-precondition', `update container "${parts.id}": it has exited`);
    apply(parts.cgroup, request.settings);
    return {};
  });
}

/** Exported for its test. */
export function apply(cgroup: string, settings: readonly CgroupSetting[]): void {
  const done: CgroupSetting[] = [];
  for (const { file, value } of settings) {
    try {
      if (!settable.test(file))
        throw new HuskError('invalid-argument', `set "${file.slice(0, 80)}": no limit of a cgroup`);
      const before = readFileSync(`${cgroup}/${file}`, 'latin1').trim();
      checkRoom(cgroup, file, value);
      writeFileSync(`${cgroup}/${file}`, value);
      done.push({ file, value: before });
    } catch (caught) {
      for (const old of done.reverse()) writeFileSync(`${cgroup}/${old.file}`, old.value);
      throw caught instanceof HuskError
        ? caught
        : new HuskError('invalid-argument', `set ${file} to "${value.slice(0, 80)}": refused by the kernel`, {
            cause: caught,
          });
    }
  }
}

/** The kernel would kill processes to make a limit true that is below what is used. */
function checkRoom(cgroup: string, file: string, value: string): void {
  if (file !== 'memory.max' || !/^[0-9]+$/.test(value)) return;
  const used = BigInt(readFileSync(`${cgroup}/memory.current`, 'latin1').trim());
  if (used <= BigInt(value)) return;
  throw new HuskError('failed-precondition', `set memory.max to ${value}: ${used} bytes are in use`);
}
