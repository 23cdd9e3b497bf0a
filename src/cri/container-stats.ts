import { HuskError } from '../base/errors.ts';
import type { ContainerStatsRequest, ContainerStatsResponse } from '../gen/cri/v1/api.ts';
import { containerState } from '../pod/container-state.ts';
import type { CriContext } from './context.ts';
import { requireId } from './ids.ts';
import { containerStatsOf } from './to-stats.ts';

/** ContainerStats: of a container that has not exited. */
export async function containerStats(
  { engine }: Pick<CriContext, 'engine'>,
  request: ContainerStatsRequest,
): Promise<ContainerStatsResponse> {
  const record = engine.containers.get(requireId('container_id', request.containerId));
  const measured = await engine.stats.of(engine.sandboxes.get(record.sandboxId));
  const stats = containerStatsOf(record, measured);
  if (stats !== undefined) return { stats };
  const state = containerState(engine.containers.get(record.id).status);
  throw new HuskError('failed-precondition', `statistics of container "${record.id}": there are none, it is ${state}`);
}
