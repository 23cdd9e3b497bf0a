import type { RemoveContainerRequest, RemoveContainerResponse } from '../gen/cri/v1/api.ts';
import type { CriContext } from './context.ts';
import { requireId } from './ids.ts';

/** RemoveContainer: idempotent, kills what runs, and a success for a container that is not known. */
export async function removeContainer(
  { engine }: Pick<CriContext, 'engine'>,
  request: RemoveContainerRequest,
  signal: AbortSignal,
): Promise<RemoveContainerResponse> {
  await engine.containers.remove(requireId('container_id', request.containerId), signal);
  return {};
}
