import type { PodSandboxStatsRequest, PodSandboxStatsResponse } from '../gen/cri/v1/api.ts';
import type { CriContext } from './context.ts';
import { requireId } from './ids.ts';
import { sandboxStatsOf } from './to-stats.ts';

/** PodSandboxStats: of a pod that runs. */
export async function podSandboxStats(
  { engine }: Pick<CriContext, 'engine'>,
  request: PodSandboxStatsRequest,
): Promise<PodSandboxStatsResponse> {
  const record = engine.sandboxes.get(requireId('pod_sandbox_id', request.podSandboxId));
  const measured = await engine.stats.of(record);
  const containers = engine.containers.list({ id: '', sandboxId: record.id, state: undefined, labels: {} });
  return { stats: sandboxStatsOf(record, containers, measured) };
}
