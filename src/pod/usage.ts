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
}
