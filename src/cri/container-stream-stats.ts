import type { StreamContainerStatsRequest, StreamContainerStatsResponse } from '../gen/cri/v1/api.ts';
import { batches } from './batches.ts';
import { findContainerStats } from './container-list-stats.ts';
import type { CriContext } from './context.ts';

/** StreamContainerStats: ListContainerStats in messages of bounded size. */
export async function* streamContainerStats(
  context: Pick<CriContext, 'engine'>,
  request: StreamContainerStatsRequest,
): AsyncGenerator<StreamContainerStatsResponse> {
  for (const containerStats of batches(await findContainerStats(context, request.filter))) yield { containerStats };
}
