/** What a volume scenario is. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

/** A mount as the kubelet asks for it; the host path is below the scenario's own folder. */
export interface MountWish {
  /** Below the scenario's folder in the container, `/s/NAME`; absolute: as it is. */
  readonly at: string;
  readonly from: string;
  readonly readonly?: boolean;
  readonly recursiveReadOnly?: boolean;
  readonly hostToContainer?: boolean;
}

export interface Scenario {
  readonly name: string;
  readonly group: string;
  /** Makes the host's side. `pod` stands for the kubelet's folder of the pod. */
  readonly prepare: (host: Host) => void;
  readonly mounts: readonly MountWish[];
  /** Run in the first container, in `/s/NAME`. */
  readonly first: string;
  /** Done on the host while the first container waits; then `afterwards` runs in it. */
  readonly during?: (host: Host) => void;
  readonly afterwards?: string;
  /** Run in a second container with the same mounts, after the first has ended. */
  readonly second?: string;
  /** Why a VM pod is known to differ from runC. */
  readonly vmDiffers?: string;
}

/** The folder of a scenario on the host, of one run. */
export class Host {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  at(...parts: readonly string[]): string {
    return join(this.folder, ...parts);
  }

  /** Makes a folder, with all above it. */
  folderAt(path: string): string {
    const full = this.at(path);
    mkdirSync(full, { recursive: true });
    return full;
  }
}

/** Where the kubelet keeps a volume of the plugin; the scenario's folder stands for its root. */
export const podVolume = (plugin: string, name = 'v'): string => `pods/u1/volumes/kubernetes.io~${plugin}/${name}`;
