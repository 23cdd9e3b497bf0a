import { rm } from 'node:fs/promises';
import { span } from '../../../src/base/trace.ts';
import type { RemoveContainerRequest, RemoveContainerResponse } from '../../../src/gen/agent/v1/agent.ts';
import type { Pod } from '../pod.ts';
import { rootRemoval } from '../rootfs.ts';
import type { Answer } from '../steps.ts';
import { releaseMounts } from '../volumes/mounts.ts';
import { stopContainer } from './stop-container.ts';

/**
 * RemoveContainer: kills if needed and takes everything away. Absent: done.
 *
 * The answer does not wait for the root file system and our own files: nothing runs in them any more, nobody has a
 * path to them, and under emulation they take as long as all the rest.
 */
export function removeContainer(
  pod: Pod,
  { containerId: id }: RemoveContainerRequest,
): Promise<Answer<RemoveContainerResponse>> {
  return pod.locks.run(id, async () => {
    const container = pod.containers.get(id);
    if (container === undefined) return {};
    const { folder, bundle, layers, mounts, target, cgroup } = container.parts;
    await span('stop', () => stopContainer(pod, { containerId: id, signal: 'KILL', graceMs: 0n }));
    await span('delete', () => pod.runtime.delete(target.id, folder, cgroup));
    container.close();
    pod.containers.delete(id);
    await releaseMounts(pod, id, mounts);
    const removeRoot = rootRemoval(pod, id, layers);
    pod.leavings.clear(`root of container "${id}"`, async () => {
      await removeRoot();
      for (const path of [folder, bundle]) await rm(path, { recursive: true, force: true });
    });
    return {};
  });
}
