/** Where the files of native pods lie. Pure. */
import { join } from 'node:path';

type Folders = { readonly stateFolder: string; readonly dataFolder: string };

/** What all native pods share. */
export interface SharedPlaces {
  /** A mount point for each layer in use. */
  readonly layers: string;
  /** conmon leaves a file here for each container that ended. */
  readonly exits: string;
  /** The OCI runtime's own state. */
  readonly runtimeRoot: string;
  readonly pods: string;
  /** A folder for each stream of a client, which the gateway may pass. */
  readonly streams: string;
}

export function sharedPlaces({ stateFolder }: Folders): SharedPlaces {
  const native = join(stateFolder, 'native');
  return {
    layers: join(native, 'layers'),
    exits: join(native, 'exits'),
    runtimeRoot: join(native, 'runtime'),
    pods: join(stateFolder, 'pods'),
    streams: join(stateFolder, 'streams'),
  };
}

/** What a pod has. */
export interface PodPlaces {
  readonly state: string;
  readonly data: string;
  /** Files that namespaces are bound to; that of the user namespace only where the pod has its own. */
  readonly user: string;
  readonly ipc: string;
  readonly uts: string;
  readonly pid: string;
  readonly shm: string;
  /** The pod's log directory, bound so that no link in it is followed. */
  readonly logs: string;
  readonly hostname: string;
  readonly hosts: string;
  readonly resolvConf: string;
  /** Bundle of the PID namespace's PID 1. */
  readonly init: string;
  readonly containers: string;
}

export function podPlaces({ stateFolder, dataFolder }: Folders, sandboxId: string): PodPlaces {
  const state = join(stateFolder, 'pods', sandboxId);
  const data = join(dataFolder, 'pods', sandboxId);
  const inState = (name: string): string => join(state, name);
  return {
    state,
    data,
    user: inState('user'),
    ipc: inState('ipc'),
    uts: inState('uts'),
    pid: inState('pid'),
    shm: inState('shm'),
    logs: inState('logs'),
    hostname: inState('hostname'),
    hosts: inState('hosts'),
    resolvConf: inState('resolv.conf'),
    init: inState('init'),
    containers: inState('containers'),
  };
}

/** What a container has. Its bundle is `folder`. */
export interface ContainerPlaces {
  readonly folder: string;
  readonly spec: string;
  readonly rootfs: string;
  /** Links to its layers by number, short enough for one page of mount options. */
  readonly links: string;
  /** Image volumes, by the number of their mount. */
  readonly images: string;
  /** Mounts of layers and volumes with the owners of the pod's user namespace. */
  readonly mapped: string;
  /** Its part of the data folder; `upper` and `work` are in it. */
  readonly data: string;
  readonly pidFile: string;
  readonly conmonPidFile: string;
  /** conmon's fifo for orders. */
  readonly control: string;
  /** conmon's socket for attach. */
  readonly attach: string;
  /** conmon's mark of an OOM kill. */
  readonly oom: string;
}

export function containerPlaces(pod: PodPlaces, containerId: string): ContainerPlaces {
  const folder = join(pod.containers, containerId);
  return {
    folder,
    spec: join(folder, 'config.json'),
    rootfs: join(folder, 'rootfs'),
    links: join(folder, 'l'),
    images: join(folder, 'i'),
    mapped: join(folder, 'm'),
    data: join(pod.data, containerId),
    pidFile: join(folder, 'pid'),
    conmonPidFile: join(folder, 'conmon.pid'),
    control: join(folder, 'ctl'),
    attach: join(folder, 'attach'),
    oom: join(folder, 'oom'),
  };
}
