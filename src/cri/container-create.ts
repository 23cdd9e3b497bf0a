import type { CreateContainerRequest, CreateContainerResponse } from '../gen/cri/v1/api.ts';
import { checkContainerConfig } from '../pod/validate/container-config.ts';
import type { CriContext } from './context.ts';
import { requireId } from './ids.ts';

/**
 * CreateContainer. The pod's config in the request is not read: the one the pod was made, routed
 * and confined with counts, whatever a client sends now.
 */
export async function createContainer(
  { engine }: Pick<CriContext, 'engine'>,
  request: CreateContainerRequest,
  signal: AbortSignal,
): Promise<CreateContainerResponse> {
  const sandboxId = requireId('pod_sandbox_id', request.podSandboxId);
  const config = checkContainerConfig(request.config);
  return { containerId: await engine.containers.create(sandboxId, config, signal) };
}
