import type { StartContainerRequest, StartContainerResponse } from '../gen/cri/v1/api.ts';
import type { CriContext } from './context.ts';
import { requireId } from './ids.ts';

/** StartContainer: of a created container only. */
export async function startContainer(
  { engine }: Pick<CriContext, 'engine'>,
  request: StartContainerRequest,
  signal: AbortSignal,
): Promise<StartContainerResponse> {
  await engine.containers.start(requireId('container_id', request.containerId), signal);
  return {};
}
