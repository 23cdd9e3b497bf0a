/** The seam between CRI and the two runtimes. `cri` knows this and nothing below it. */

import type { ContainerConfig, LinuxContainerResources, PodSandboxConfig } from '../gen/cri/v1/api.ts';
import type { Image } from './image-view.ts';
import type { ContainerRecord, ContainerStatusRecord, SandboxRecord, SandboxStatus } from './records.ts';
import type { PodUse, UseRequest } from './usage.ts';

export interface ExecSyncResult {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  readonly exitCode: number;
}

/** What a runtime tells of its own accord. */
export interface PodRuntimeEvents {
  /** After the container's log is complete. */
  onContainerExit(
    containerId: string,
    exit: { exitCode: number; oomKilled: boolean; finishedAtNs: bigint; message: string },
  ): void;
  /** The pod is gone without being asked to: its containers are dead. */
  onSandboxLost(sandboxId: string, reason: string): void;
  /** What the runtime wants remembered of the pod; written before the effect it announces. */
  saveSandbox(sandboxId: string, change: Partial<SandboxStatus>): void;
}

/** What a container is made of. */
export interface ContainerWish {
  readonly config: ContainerConfig;
  readonly image: Image;
  /** Images that mounts name, by the name in the mount. */
  readonly volumeImages: ReadonlyMap<string, Image>;
}

/** A command to be run in a container. */
export interface ExecCommand {
  readonly command: readonly string[];
  /** Seconds; then it is killed. 0: no limit. */
  readonly timeoutSeconds: number;
}

/** What a client wants to be joined with. */
export type StreamWish =
  | {
      readonly route: 'exec' | 'attach';
      readonly container: ContainerRecord;
      /** Empty for attach. */
      readonly command: readonly string[];
      readonly tty: boolean;
      readonly stdin: boolean;
      readonly stdout: boolean;
      readonly stderr: boolean;
    }
  | { readonly route: 'port-forward' };

/**
 * Runs pods of one kind. Every method may be repeated; stop and remove finish what an
 * earlier try left, and succeed when there is nothing to do.
 */
export interface PodRuntime {
  readonly name: 'vm' | 'native';
  /** On error nothing is left. Returns what to remember. */
  runSandbox(
    record: SandboxRecord,
    config: PodSandboxConfig,
    signal: AbortSignal,
  ): Promise<Pick<SandboxStatus, 'ips' | 'runtimeState' | 'timeline'>>;
  /** Ends the pod's containers and gives its network back. */
  stopSandbox(record: SandboxRecord): Promise<void>;
  /** Removes every trace. */
  removeSandbox(record: SandboxRecord): Promise<void>;
  createContainer(
    sandbox: SandboxRecord,
    container: ContainerRecord,
    wish: ContainerWish,
    signal: AbortSignal,
  ): Promise<Pick<ContainerStatusRecord, 'user'>>;
  startContainer(
    sandbox: SandboxRecord,
    container: ContainerRecord,
    signal: AbortSignal,
  ): Promise<{ startedAtNs: bigint }>;
  /**
   * Sends a signal to the first process of a container. One that has ended is fine.
   * @param name as in the record of a container: `INT`, `RTMIN+3`
   */
  signalContainer(sandbox: SandboxRecord, container: ContainerRecord, name: string): Promise<void>;
  /** Returns when the container has exited and `onContainerExit` was called. */
  stopContainer(sandbox: SandboxRecord, container: ContainerRecord, graceSeconds: number): Promise<void>;
  removeContainer(sandbox: SandboxRecord, container: ContainerRecord): Promise<void>;
  execSync(
    sandbox: SandboxRecord,
    container: ContainerRecord,
    command: ExecCommand,
    signal: AbortSignal,
  ): Promise<ExecSyncResult>;
  /** A URL, good once and for a minute, at which a client is joined with the process or with ports of the pod. */
  streamUrl(sandbox: SandboxRecord, wish: StreamWish, signal: AbortSignal): Promise<string>;
  reopenLog(sandbox: SandboxRecord, container: ContainerRecord): Promise<void>;
  /**
   * What the pod and its containers use now.
   * Where asking the containers' side is dear, `request.held` is taken over while it holds.
   */
  stats(sandbox: SandboxRecord, request: UseRequest, signal: AbortSignal): Promise<PodUse>;
  /**
   * Sets limits of a container that was created and has not exited: all of them or, when one is
   * refused, none. What is zero or empty stays as it is.
   * @throws HuskError `invalid-argument`, `failed-precondition`
   */
  updateContainer(
    sandbox: SandboxRecord,
    container: ContainerRecord,
    resources: LinuxContainerResources,
    signal: AbortSignal,
  ): Promise<void>;
  /**
   * Takes up a pod of an earlier daemon. False: it is gone, and its containers with it;
   * what is left of it has been taken away but for what removeSandbox removes.
   */
  recover(sandbox: SandboxRecord, containers: readonly ContainerRecord[]): Promise<boolean>;
  /** Takes away everything of a pod whose record was found half made. */
  sweep(sandbox: SandboxRecord): Promise<void>;
}
