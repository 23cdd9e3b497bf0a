/** What a VM pod uses: its cgroup and interface as the host sees them, its containers as the guest tells. */
import { setImmediate } from 'node:timers/promises';
import { Slots } from '../base/slots.ts';
import type { CgroupUse, ContainerUse } from '../gen/agent/v1/agent.ts';
import { PodSandboxConfig } from '../gen/cri/v1/api.ts';
import type { SandboxRecord } from '../pod/records.ts';
import type { PodUse, UseRequest } from '../pod/usage.ts';
import type { LivePod } from './live-pod.ts';
import type { VmRuntimeOptions } from './options.ts';
import { podFolders } from './pod-places.ts';

/** The guest answers in tens of milliseconds; one that is stuck must not be waited for long. */
const agentMs = 8_000;
/** Cgroups read in one turn of the event loop: some 200 microseconds each, and other calls wait meanwhile. */
const readsInATurn = 8;
/** Guests asked at a time: each of them costs CPU here. */
const guestsAtATime = 8;

/** Who looks when, of all pods of a runtime. */
export class LookTurns {
  readonly #reads = new Slots(readsInATurn);
  readonly #guests = new Slots(guestsAtATime);

  readCgroup(read: () => Promise<CgroupUse>): Promise<CgroupUse> {
    return this.#reads.run(async () => {
      await setImmediate();
      return await read();
    });
  }

  askGuest(ask: () => Promise<ContainerUse[]>, signal: AbortSignal): Promise<ContainerUse[]> {
    return this.#guests.run(ask, signal);
  }
}

/** Looks at the host, and asks the guest unless what it said earlier still holds. */
export async function podUse(look: {
  readonly options: Pick<VmRuntimeOptions, 'cgroups' | 'network' | 'dataFolder' | 'stateFolder'>;
  readonly turns: LookTurns;
  readonly pod: Pick<LivePod, 'agent'>;
  readonly sandbox: SandboxRecord;
  readonly request: UseRequest;
  readonly signal: AbortSignal;
}): Promise<PodUse> {
  const { options, turns, sandbox } = look;
  const config = PodSandboxConfig.decode(Buffer.from(sandbox.configBase64, 'base64'));
  const paths = options.cgroups.paths(config.linux?.cgroupParent ?? '', sandbox.id);
  // Asked in the first turn: one process reads the interfaces of all pods that are looked at.
  const [interfaces, use] = await Promise.all([
    options.network.use(sandbox.id),
    turns.readCgroup(() => options.cgroups.use(paths)),
  ]);
  const common = { interfaces, writableFolder: podFolders(options, sandbox.id).data };
  const { held } = look.request;
  if (held !== undefined && use.cpu !== undefined && use.cpu.usageNs <= held.untilCpuNs)
    return { ...common, pod: use, containers: held.containers };
  return { ...common, ...(await asked(look, use, () => options.cgroups.use(paths))) };
}

/** The cgroup is read again afterwards: what is used from then on is not in the guest's answer. */
async function asked(
  { pod, turns, request, signal }: Pick<Parameters<typeof podUse>[0], 'pod' | 'turns' | 'request' | 'signal'>,
  before: CgroupUse,
  read: () => Promise<CgroupUse>,
): Promise<Pick<PodUse, 'pod' | 'containers' | 'askedNs'>> {
  let began = before;
  const { details } = request;
  const containers = await turns.askGuest(async () => {
    began = await read();
    return await pod.agent.stats({ details }, { timeoutMs: agentMs, signal });
  }, signal);
  const after = await turns.readCgroup(read);
  const askedNs = (after.cpu?.usageNs ?? 0n) - (began.cpu?.usageNs ?? 0n);
  return { pod: after, containers: new Map(containers.map((each) => [each.containerId, each])), askedNs };
}
