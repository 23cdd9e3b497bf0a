import type {
  ListPodSandboxStatsRequest,
  ListPodSandboxStatsResponse,
  PodSandboxStats,
  PodSandboxStatsFilter,
} from '../gen/cri/v1/api.ts';
import { labels } from '../pod/validate/check.ts';
import type { CriContext } from './context.ts';
import { sandboxStatsOf } from './to-stats.ts';

/** ListPodSandboxStats: of all pods that run and pass the filter. */
export async function listPodSandboxStats(
  context: Pick<CriContext, 'engine'>,
  request: ListPodSandboxStatsRequest,
): Promise<ListPodSandboxStatsResponse> {
  return { stats: await findSandboxStats(context, request.filter) };
}

/** A pod that gives none is left out: the others' are not held back for it. */
export async function findSandboxStats(
  { engine }: Pick<CriContext, 'engine'>,
  filter: PodSandboxStatsFilter | undefined,
): Promise<PodSandboxStats[]> {
  labels('filter.label_selector', filter?.labelSelector ?? {});
  const pods = engine.sandboxes.list({ id: filter?.id ?? '', state: 'ready', labels: filter?.labelSelector ?? {} });
  const measured = await engine.stats.list(pods);
  return pods.flatMap((record) => {
    const look = measured.get(record.id);
    if (look === undefined) return [];
    const containers = engine.containers.list({ id: '', sandboxId: record.id, state: undefined, labels: {} });
    return [sandboxStatsOf(record, containers, look)];
  });
}
