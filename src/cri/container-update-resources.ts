import { HuskError } from '../base/errors.ts';
import type { UpdateContainerResourcesRequest, UpdateContainerResourcesResponse } from '../gen/cri/v1/api.ts';
import { checkResources } from '../pod/validate/resources.ts';
import type { CriContext } from './context.ts';
import { requireId } from './ids.ts';

/**
 * UpdateContainerResources: the limits of the container's cgroup, all of them or none. The size of a
 * pod's virtual machine stays: what does not fit into it is the kernel's to refuse.
 */
export async function updateContainerResources(
  { engine }: Pick<CriContext, 'engine'>,
  request: UpdateContainerResourcesRequest,
  signal: AbortSignal,
): Promise<UpdateContainerResourcesResponse> {
  const id = requireId('container_id', request.containerId);
  if (request.windows !== undefined) throw new HuskError('invalid-argument', 'windows: this node runs Linux');
  if (request.linux === undefined) throw new HuskError('invalid-argument', 'linux: missing, wanted resources');
  checkResources('linux', request.linux);
  await engine.containers.updateResources(id, request.linux, signal);
  return {};
}
