import type { UpdatePodSandboxResourcesRequest, UpdatePodSandboxResourcesResponse } from '../gen/cri/v1/api.ts';
import { checkResources } from '../pod/validate/resources.ts';
import type { CriContext } from './context.ts';
import { requireId } from './ids.ts';

/**
 * UpdatePodSandboxResources: the kubelet tells that it changed the pod's cgroup. Best effort by CRI's
 * contract; a VM pod keeps its size, which is said in the log.
 */
export function updatePodSandboxResources(
  { engine, log }: Pick<CriContext, 'engine' | 'log'>,
  request: UpdatePodSandboxResourcesRequest,
): UpdatePodSandboxResourcesResponse {
  const { id, runtime } = engine.sandboxes.get(requireId('pod_sandbox_id', request.podSandboxId));
  checkResources('overhead', request.overhead);
  checkResources('resources', request.resources);
  if (runtime === 'vm') log.info({ sandbox: id }, 'pod resources changed; the size of its virtual machine stays');
  return {};
}
