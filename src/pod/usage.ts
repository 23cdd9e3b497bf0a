/** What a pod and its containers use. */
import type { InterfaceUse } from '../base/interface-use.ts';
import type { CgroupUse, ContainerUse } from '../gen/agent/v1/agent.ts';

/** One look at a pod. */
export interface PodUse {
  /** Of the pod's cgroup on the host: of a virtual machine that is all of it, the hypervisor's own use too. */
  readonly pod: CgroupUse;
  /** By id; of a VM pod as its guest tells. Containers that have exited are not in it. */
  readonly containers: ReadonlyMap<string, ContainerUse>;
  /** The pod's main interface first. */
  readonly interfaces: readonly InterfaceUse[];
  /** Folder on the host that holds what the containers write. */
  readonly writableFolder: string;
  /** CPU time of the pod that the look itself took there, in nanoseconds; absent where nobody in it was asked. */
  readonly askedNs?: bigint;
}

/** What a look may take over from an earlier one. */
export interface HeldFigures {
  readonly containers: PodUse['containers'];
  /** They hold while the pod's CPU time, in nanoseconds, is not above this: who has not run has not changed. */
  readonly untilCpuNs: bigint;
}

/** What is wanted of a look. */
export interface UseRequest {
  /** Also descriptors, sockets and limits of processes. */
  readonly details: boolean;
  /** May stand in the answer in place of what the pod would say itself. */
  readonly held?: HeldFigures | undefined;
}
