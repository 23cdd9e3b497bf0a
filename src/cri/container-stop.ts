import type { StopContainerRequest, StopContainerResponse } from '../gen/cri/v1/api.ts';
import { refuse } from '../pod/validate/check.ts';
import type { CriContext } from './context.ts';
import { requireId } from './ids.ts';

/** StopContainer: idempotent, and a success for a container that is not known. */
export async function stopContainer(
  { engine }: Pick<CriContext, 'engine'>,
  request: StopContainerRequest,
  signal: AbortSignal,
): Promise<StopContainerResponse> {
  const id = requireId('container_id', request.containerId);
  if (request.timeout < 0n) refuse('timeout', request.timeout, 'wanted seconds, zero or more');
  await engine.containers.stop(id, Number(request.timeout), signal);
  return {};
}
