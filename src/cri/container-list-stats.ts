import type {
  ContainerStats,
  ContainerStatsFilter,
  ListContainerStatsRequest,
  ListContainerStatsResponse,
} from '../gen/cri/v1/api.ts';
import { labels } from '../pod/validate/check.ts';
import type { CriContext } from './context.ts';
import { containerStatsOf } from './to-stats.ts';

/** ListContainerStats: of all containers that have not exited and pass the filter. */
export async function listContainerStats(
  context: Pick<CriContext, 'engine'>,
  request: ListContainerStatsRequest,
): Promise<ListContainerStatsResponse> {
  return { stats: await findContainerStats(context, request.filter) };
}

/** One look at each pod, however many of its containers are asked for. */
export async function findContainerStats(
  { engine }: Pick<CriContext, 'engine'>,
  filter: ContainerStatsFilter | undefined,
): Promise<ContainerStats[]> {
  labels('filter.label_selector', filter?.labelSelector ?? {});
  const containers = engine.containers.list({
    id: filter?.id ?? '',
    sandboxId: filter?.podSandboxId ?? '',
    state: undefined,
    labels: filter?.labelSelector ?? {},
  });
  const wanted = new Set<string>(containers.map(({ sandboxId }) => sandboxId));
  const pods = engine.sandboxes.list({ id: '', state: 'ready', labels: {} }).filter(({ id }) => wanted.has(id));
  const measured = await engine.stats.list(pods);
  return containers.flatMap((container) => {
    const look = measured.get(container.sandboxId);
    return look === undefined ? [] : (containerStatsOf(container, look) ?? []);
  });
}
