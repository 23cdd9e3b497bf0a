import type { StreamPodSandboxMetricsResponse } from '../gen/cri/v1/api.ts';
import type { CriContext } from './context.ts';
import { findSandboxMetrics } from './sandbox-list-metrics.ts';

/** StreamPodSandboxMetrics: ListPodSandboxMetrics, a message for each pod. */
export async function* streamPodSandboxMetrics(
  context: Pick<CriContext, 'engine' | 'images'>,
): AsyncGenerator<StreamPodSandboxMetricsResponse> {
  for (const metrics of await findSandboxMetrics(context)) yield { podSandboxMetrics: [metrics] };
}
