import { rm } from 'node:fs/promises';
import type { RemoveContainerRequest, RemoveContainerResponse } from '../../../src/gen/agent/v1/agent.ts';
import { containerPlaces } from '../places.ts';
import type { Pod } from '../pod.ts';
import { tryOp } from '../sys-batch.ts';
import { stopContainer } from './stop-container.ts';

/** RemoveContainer: kills if needed and takes everything away. Absent: done. */
export async function removeContainer(pod: Pod, { containerId }: RemoveContainerRequest): Promise<RemoveContainerResponse> {
  const container = pod.containers.get(containerId);
  if (container === undefined) return {};
  await stopContainer(pod, { containerId, signal: 'KILL', graceMs: 0n });
  await pod.runtime.delete(containerId);
  container.close();
  pod.containers.delete(containerId);
  const places = containerPlaces(pod.settings, containerId);
  await pod.sys.run([tryOp('umount', places.rootfs), ...pod.layers.giveBack(container.parts.layers).ops]);
  await rm(places.folder, { recursive: true, force: true });
  await rm(places.written, { recursive: true, force: true });
  return {};
}
