/** What a VM pod uses: its cgroup and interface as the host sees them, its containers as the guest tells. */
import { PodSandboxConfig } from '../gen/cri/v1/api.ts';
import type { SandboxRecord } from '../pod/records.ts';
import type { PodUse } from '../pod/usage.ts';
import type { LivePod } from './live-pod.ts';
import type { VmRuntimeOptions } from './options.ts';
import { podFolders } from './pod-places.ts';

/** The guest answers in tens of milliseconds; one that is stuck must not be waited for long. */
const agentMs = 8_000;

/** Asks host and guest at once. */
export async function podUse(look: {
  readonly options: Pick<VmRuntimeOptions, 'cgroups' | 'network' | 'dataFolder' | 'stateFolder'>;
  readonly pod: Pick<LivePod, 'agent'>;
  readonly sandbox: SandboxRecord;
  readonly details: boolean;
  readonly signal: AbortSignal;
}): Promise<PodUse> {
  const { options, pod, sandbox, details, signal } = look;
  const config = PodSandboxConfig.decode(Buffer.from(sandbox.configBase64, 'base64'));
  const [use, interfaces, containers] = await Promise.all([
    options.cgroups.use(options.cgroups.paths(config.linux?.cgroupParent ?? '', sandbox.id)),
    options.network.use(sandbox.id),
    pod.agent.stats({ details }, { timeoutMs: agentMs, signal }),
  ]);
  return {
    pod: use,
    interfaces,
    containers: new Map(containers.map((container) => [container.containerId, container])),
    writableFolder: podFolders(options, sandbox.id).data,
  };
}
