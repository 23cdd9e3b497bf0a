import type { StreamPodSandboxStatsRequest, StreamPodSandboxStatsResponse } from '../gen/cri/v1/api.ts';
import { batches } from './batches.ts';
import type { CriContext } from './context.ts';
import { findSandboxStats } from './sandbox-list-stats.ts';

/** StreamPodSandboxStats: ListPodSandboxStats in messages of bounded size. */
export async function* streamPodSandboxStats(
  context: Pick<CriContext, 'engine'>,
  request: StreamPodSandboxStatsRequest,
): AsyncGenerator<StreamPodSandboxStatsResponse> {
  for (const podSandboxStats of batches(await findSandboxStats(context, request.filter))) yield { podSandboxStats };
}
