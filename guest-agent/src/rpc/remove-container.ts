import { rm } from 'node:fs/promises';
import type { RemoveContainerRequest, RemoveContainerResponse } from '../../../src/gen/agent/v1/agent.ts';
import type { Pod } from '../pod.ts';
import { unmountRoot } from '../rootfs.ts';
import { releaseMounts } from '../volumes/mounts.ts';
import { stopContainer } from './stop-container.ts';

/** RemoveContainer: kills if needed and takes everything away. Absent: done. */
export function removeContainer(
  pod: Pod,
  { containerId: id }: RemoveContainerRequest,
): Promise<RemoveContainerResponse> {
  return pod.locks.run(id, async () => {
    const container = pod.containers.get(id);
    if (container === undefined) return {};
    const { folder, bundle, layers, mounts, target } = container.parts;
    await stopContainer(pod, { containerId: id, signal: 'KILL', graceMs: 0n });
    await pod.runtime.delete(target.id, folder);
    container.close();
    pod.containers.delete(id);
    await unmountRoot(pod, id, layers);
    await releaseMounts(pod, id, mounts);
    for (const path of [folder, bundle]) await rm(path, { recursive: true, force: true });
    return {};
  });
}
