/** A VM pod that runs: its VM, the link to its agent, and the logs of its containers. */
import type { Agent } from '../agent/agent.ts';
import type { Vm } from '../hypervisor/hypervisor.ts';
import type { PodVolumes } from '../volumes/pod-volumes.ts';
import type { ContainerLog } from './container-log.ts';

export interface LivePod {
  readonly vm: Vm;
  readonly agent: Agent;
  readonly volumes: PodVolumes;
  /** Settles with the reason when the pod's file server, if it has one, is gone. */
  readonly shareLost: Promise<string>;
  /** By container id; a container without a log path has none. */
  readonly logs: Map<string, ContainerLog>;
  /** Ids of containers that were started and whose exit was not reported. */
  readonly running: Set<string>;
  /** Resolvers of those who wait for a container's exit, by container id. */
  readonly exits: Map<string, PromiseWithResolvers<void>>;
  /** True once the pod is being stopped on request: its end is no loss then. */
  stopping: boolean;
}

/** A pod without containers. */
export function livePod(vm: Vm, agent: Agent, { volumes, shareLost }: Pick<LivePod, 'volumes' | 'shareLost'>): LivePod {
  return { vm, agent, volumes, shareLost, logs: new Map(), running: new Set(), exits: new Map(), stopping: false };
}

/** The promise that settles when the container's exit has been reported. */
export function exitOf(pod: LivePod, containerId: string): PromiseWithResolvers<void> {
  const known = pod.exits.get(containerId);
  if (known !== undefined) return known;
  const fresh = Promise.withResolvers<void>();
  pod.exits.set(containerId, fresh);
  return fresh;
}
