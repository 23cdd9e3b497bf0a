import {
  PodSandboxConfig,
  type PodSandboxStatus,
  type PodSandboxStatusRequest,
  type PodSandboxStatusResponse,
} from '../gen/cri/v1/api.ts';
import type { SandboxRecord } from '../pod/records.ts';
import { containerStatusOf } from './container-status.ts';
import type { CriContext } from './context.ts';
import { requireId } from './ids.ts';
import { toSandboxState } from './to-cri.ts';

/** PodSandboxStatus: the pod, and its containers at the same moment. */
export function podSandboxStatus(
  { engine, images, clock, podTraces }: Pick<CriContext, 'engine' | 'images' | 'clock' | 'podTraces'>,
  request: PodSandboxStatusRequest,
): PodSandboxStatusResponse {
  const record = engine.sandboxes.get(requireId('pod_sandbox_id', request.podSandboxId));
  const config = PodSandboxConfig.decode(Buffer.from(record.configBase64, 'base64'));
  const containers = engine.containers.list({ id: '', sandboxId: record.id, state: undefined, labels: {} });
  return {
    status: sandboxStatusOf(record, config),
    info: request.verbose ? { ...verbose(record, config), calls: JSON.stringify(podTraces?.of(record.id) ?? []) } : {},
    containersStatuses: containers.map((container) => containerStatusOf(container, images)),
    timestamp: clock.wallNs(),
  };
}

/** A pod as it stands. */
export function sandboxStatusOf(record: SandboxRecord, config: PodSandboxConfig): PodSandboxStatus {
  const [ip = '', ...more] = record.status.ips;
  return {
    id: record.id,
    metadata: record.metadata,
    state: toSandboxState(record.status.phase),
    createdAt: BigInt(record.createdAtNs),
    network: { ip, additionalIps: more.map((additional) => ({ ip: additional })) },
    linux: { namespaces: { options: config.linux?.securityContext?.namespaceOptions } },
    labels: record.labels,
    annotations: record.annotations,
    runtimeHandler: record.runtimeHandler,
  };
}

/** Each value is JSON, as crictl expects. The runtime's own state may hold secrets: only the pid is told of it. */
function verbose(record: SandboxRecord, config: PodSandboxConfig): Record<string, string> {
  return {
    pid: JSON.stringify(pidOf(record.status.runtimeState) ?? 0),
    runtime: JSON.stringify(record.runtime),
    runtimeReason: JSON.stringify(record.runtimeReason),
    phase: JSON.stringify(record.status.phase),
    reason: JSON.stringify(record.status.reason),
    timeline: JSON.stringify(record.status.timeline),
    config: JSON.stringify(PodSandboxConfig.toJSON(config)),
  };
}

/** A runtime whose pods have one process keeps its `pid` in its state, at the top or one level below. */
function pidOf(state: unknown): number | undefined {
  if (typeof state !== 'object' || state === null) return undefined;
  if ('pid' in state && typeof state.pid === 'number') return state.pid;
  for (const part of Object.values(state)) {
    if (typeof part === 'object' && part !== null && 'pid' in part && typeof part.pid === 'number') return part.pid;
  }
  return undefined;
}
