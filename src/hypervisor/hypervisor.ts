/**
 * What the rest of husk knows of virtual machines. Nothing here speaks of Kubernetes,
 * and nothing above this folder speaks of QEMU.
 */

export interface VmConfig {
  /** Unique on the host; used in file, cgroup and process names. */
  readonly id: string;
  readonly vcpus: number;
  readonly memoryMiB: number;
  /** The uid and gid that the VM process runs as: its own, used by nothing else. */
  readonly uid: number;
  /** Path of the network namespace that holds, or will hold, the pod's interface. */
  readonly netnsPath: string;
  /** Cgroup directories (one per v1 controller, or one v2 directory) the process joins. */
  readonly cgroupPaths: readonly string[];
  /** Folder for this VM's sockets and console log; root's, 0711, exists. */
  readonly stateFolder: string;
  /** Folder for this VM's disk; root's, 0700, exists. */
  readonly diskFolder: string;
  /** Upper bound of the pod's writable disk in bytes. */
  readonly diskBytes: number;
  /** Who may connect to the agent channel: the gateway's uid. */
  readonly agentSocketUid: number;
  readonly oomScoreAdj: number;
}

/** Name in a VM's state folder of the socket that is the host's end of its file server port. */
export const shareSocketName = 'share.sock';

/** All that is needed to find a VM again after the daemon was restarted. JSON-safe. */
export interface VmRef {
  readonly id: string;
  readonly pid: number;
  /** Field 22 of /proc/PID/stat, to tell the process from a later one with its pid. */
  readonly startTicks: string;
  readonly qmpSocket: string;
  readonly agentSocket: string;
  readonly fdSocket: string;
  readonly consoleLog: string;
  /** How it came up. */
  readonly origin: 'clone' | 'cold-boot';
}

/** A read-only file of the image store that a guest reads as one layer. */
export interface LayerFile {
  /** Absolute path in our image store: a regular file, opened O_RDONLY|O_NOFOLLOW and passed as a descriptor. */
  readonly path: string;
  readonly sizeBytes: number;
}

/** Where a layer lies on the guest's layers disk. */
export interface LayerRange {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** A disk of the host that a pod was given. */
export interface BlockDevice {
  /** Resolved: opened without following a link in the last place. */
  readonly path: string;
  readonly readonly: boolean;
}

export interface VmExit {
  /** Why, as far as it is known: `signal 9`, `exit code 1`, `guest panic`, `guest power off`. */
  readonly reason: string;
  /** The last lines of the guest's console. */
  readonly consoleTail: string;
}

export interface Vm {
  readonly ref: VmRef;
  /** Resolves when the process is gone, whoever ended it. Never rejects. */
  readonly exited: Promise<VmExit>;
  /**
   * Puts more files on the layers disk, in one step however many; those already there keep
   * their place, and a file attached twice is attached once. Returns the place of each.
   */
  attachLayers(layers: readonly LayerFile[], signal?: AbortSignal): Promise<LayerRange[]>;
  /** Plugs in a block device of the host, once however often it is asked for; the serial that the guest finds it by. */
  attachBlock(device: BlockDevice, signal?: AbortSignal): Promise<string>;
  /**
   * Takes the guest off its network: from when this returns nothing of it goes out or comes in. It runs on.
   * @throws HuskError `deadline-exceeded`, `unavailable`
   */
  cutOff(): Promise<void>;
  /** Tells the guest that the device behind a disk has this size; the size that the disk had. */
  resizeBlock(serial: string, sizeBytes: number): Promise<number>;
  /** The end of the guest's console, for error messages. */
  consoleTail(): Promise<string>;
  /** Ends the process and waits until it is gone. Gone already: success. */
  destroy(): Promise<void>;
}

export interface HypervisorInfo {
  readonly accelerator: 'kvm' | 'tcg';
  /** Why this accelerator: shown in Status and in the log. */
  readonly acceleratorReason: string;
  readonly version: string;
}

/** Stamps of a launch for the pod's timeline, in milliseconds of the monotonic clock. */
export type Stamp = (step: string) => void;

export interface Hypervisor {
  info(): HypervisorInfo;
  /** Makes sure that a template of this size stands, building it if it must. */
  prepareTemplate(
    size: { readonly vcpus: number; readonly memoryMiB: number; readonly diskBytes: number },
    signal?: AbortSignal,
  ): Promise<void>;
  /**
   * Starts a VM: a clone when a template of its size stands, else a cold boot.
   * The guest runs when this returns; whether its agent answers is for the caller to ask.
   */
  launch(config: VmConfig, stamp: Stamp, signal?: AbortSignal): Promise<Vm>;
  /** The VM of an earlier daemon, or undefined when its process is gone. */
  reattach(ref: VmRef): Promise<Vm | undefined>;
  /** Ends whatever process and removes whatever file carries this id. For half-made VMs; idempotent. */
  sweep(id: string, config: Pick<VmConfig, 'cgroupPaths' | 'stateFolder' | 'diskFolder'>): Promise<void>;
}
