import type { ReopenContainerLogRequest, ReopenContainerLogResponse } from '../gen/cri/v1/api.ts';
import type { CriContext } from './context.ts';
import { requireId } from './ids.ts';

/** ReopenContainerLog: of a running container. */
export async function reopenContainerLog(
  { engine }: Pick<CriContext, 'engine'>,
  request: ReopenContainerLogRequest,
): Promise<ReopenContainerLogResponse> {
  await engine.containers.reopenLog(requireId('container_id', request.containerId));
  return {};
}
