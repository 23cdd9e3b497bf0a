import type { AgentHub } from '../agent/agent.ts';
import type { Clock } from '../base/clock.ts';
import type { Failpoints } from '../base/failpoints.ts';
import type { Log } from '../base/log.ts';
import type { Cgroups } from '../cgroups/cgroups.ts';
import type { Hypervisor } from '../hypervisor/hypervisor.ts';
import type { Network } from '../network/network.ts';
import type { PodRuntimeEvents } from '../pod/pod-runtime.ts';
import type { UidPool } from './uid-pool.ts';

export interface VmRuntimeOptions {
  readonly hypervisor: Hypervisor;
  readonly network: Network;
  readonly hub: AgentHub;
  readonly cgroups: Cgroups;
  readonly events: PodRuntimeEvents;
  readonly log: Log;
  readonly clock: Clock;
  readonly failpoints: Failpoints;
  /** Folder for sockets and other things that end with the machine; passable (0711) for the gateway. */
  readonly stateFolder: string;
  /** Folder for the pods' disks. */
  readonly dataFolder: string;
  readonly gatewayUid: number;
  /** The compiled husk-share, the file server of live volumes. */
  readonly shareProgram: string;
  /** The uids that VMs run as, one each. */
  readonly uids: UidPool;
  readonly size: VmSize;
  /** Upper bound of a pod's writable disk. */
  readonly diskBytes: number;
  readonly deadlines: VmDeadlines;
  /** Containers wait for a client before they start, and for it to read: of a direct run. */
  readonly foreground?: boolean | undefined;
}

export interface VmSize {
  readonly vcpus: number;
  readonly memoryMiB: number;
}

/** How long the steps may take, in milliseconds. Emulation is slow: see defaultDeadlines. */
export interface VmDeadlines {
  /** From the start of a clone to the agent's first answer. */
  readonly cloneAnswerMs: number;
  /** The same for a cold boot. */
  readonly bootAnswerMs: number;
  /** One agent call that runs the OCI runtime. */
  readonly agentCallMs: number;
}

/** A cold boot takes 5-9 s under emulation on two busy cores; a stuck guest must still fail the pod within a minute. */
export const defaultDeadlines: VmDeadlines = { cloneAnswerMs: 30_000, bootAnswerMs: 60_000, agentCallMs: 60_000 };
