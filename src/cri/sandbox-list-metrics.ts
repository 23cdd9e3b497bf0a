import {
  type ListPodSandboxMetricsResponse,
  type Metric,
  MetricType,
  type PodSandboxMetrics,
} from '../gen/cri/v1/api.ts';
import type { ImageStore } from '../images/image-store.ts';
import { descriptors } from '../metrics/descriptors.ts';
import { cgroupSamples, containerSamples, networkSamples, type Sample, type SpecLimits } from '../metrics/samples.ts';
import { resourcesOf } from '../pod/container-resources.ts';
import type { Measured } from '../pod/engine/stats-service.ts';
import type { ContainerRecord, SandboxRecord } from '../pod/records.ts';
import type { CriContext } from './context.ts';
import { imageSpecOf } from './to-cri.ts';

type Context = Pick<CriContext, 'engine' | 'images'>;

/** ListPodSandboxMetrics: of all pods that run, in the words of cAdvisor. */
export async function listPodSandboxMetrics(context: Context): Promise<ListPodSandboxMetricsResponse> {
  return { podMetrics: await findSandboxMetrics(context) };
}

/** A pod that gives none is left out. */
export async function findSandboxMetrics({ engine, images }: Context): Promise<PodSandboxMetrics[]> {
  const pods = engine.sandboxes.list({ id: '', state: 'ready', labels: {} });
  const measured = await engine.stats.list(pods, true);
  return pods.flatMap((pod) => {
    const look = measured.get(pod.id);
    if (look === undefined) return [];
    const containers = engine.containers.list({ id: '', sandboxId: pod.id, state: undefined, labels: {} });
    return [metricsOf(pod, containers, look, images)];
  });
}

function metricsOf(
  pod: SandboxRecord,
  containers: readonly ContainerRecord[],
  look: Measured,
  images: Pick<ImageStore, 'get'>,
): PodSandboxMetrics {
  const { name, namespace } = pod.metadata;
  const ofPod = [...cgroupSamples(look.use.pod), ...networkSamples(look.use.interfaces)];
  return {
    podSandboxId: pod.id,
    metrics: toMetrics(ofPod, [pod.id, pod.id, '', '', name, namespace], look.atNs),
    containerMetrics: containers.flatMap((container) => {
      const use = look.use.containers.get(container.id);
      if (use === undefined) return [];
      const startedAtNs = BigInt(container.status.startedAtNs);
      const samples = containerSamples({
        ...{ use, startedAtNs, limits: limitsOf(container) },
        ...{ atNs: look.atNs, device: look.use.writableFolder },
      });
      const image = imageSpecOf(container, images).image;
      const labels = [container.id, container.id, image, container.metadata.name, name, namespace];
      return [{ containerId: container.id, metrics: toMetrics(samples, labels, look.atNs) }];
    }),
  };
}

function limitsOf(container: ContainerRecord): SpecLimits {
  const resources = resourcesOf(container);
  const positive = (value: bigint | undefined): bigint => (value !== undefined && value > 0n ? value : 0n);
  return {
    cpuPeriod: positive(resources?.cpuPeriod),
    cpuQuota: positive(resources?.cpuQuota),
    cpuShares: positive(resources?.cpuShares),
    memoryBytes: positive(resources?.memoryLimitInBytes),
    // CRI has no such limit but through cgroup v2's own name of it.
    memoryReservationBytes: BigInt(/^[0-9]{1,18}$/.exec(resources?.unified['memory.low'] ?? '')?.[0] ?? 0),
    memorySwapBytes: positive(resources?.memorySwapLimitInBytes),
  };
}

function toMetrics(samples: readonly Sample[], common: readonly string[], timestamp: bigint): Metric[] {
  return samples.map(({ name, labels, value }) => ({
    name,
    timestamp,
    metricType: descriptors.get(name)?.type === 'counter' ? MetricType.COUNTER : MetricType.GAUGE,
    labelValues: [...common, ...labels],
    value: { value },
  }));
}
