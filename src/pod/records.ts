/**
 * The durable records of pods and containers.
 *
 * What the caller asked for is kept byte for byte and never changes after creation;
 * what happened to it is kept apart, and the state is derived from it (state.ts).
 * All values are JSON-safe: times are decimal strings of nanoseconds.
 */
import type { ContainerId, Digest, SandboxId } from '../base/ids.ts';

/** Which PodRuntime owns the pod. Chosen once, never guessed again. */
export type RuntimeName = 'vm' | 'native';

export interface SandboxRecord {
  /** Version of this shape; an unknown one is refused. */
  readonly version: 1;
  readonly id: SandboxId;
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly attempt: number;
  };
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** The PodSandboxConfig as it came, protobuf bytes in base64: unknown fields live on. */
  readonly configBase64: string;
  readonly runtimeHandler: string;
  readonly runtime: RuntimeName;
  /** Why this runtime, in a sentence. */
  readonly runtimeReason: string;
  readonly createdAtNs: string;
  readonly status: SandboxStatus;
}

export interface SandboxStatus {
  /** `intended` is written before the first effect; a record found so after a restart is undone. */
  readonly phase: 'intended' | 'ready' | 'not-ready' | 'removing';
  /** Why it is not ready, when it is not by request. */
  readonly reason: string;
  readonly ips: readonly string[];
  /** What the runtime needs to find the pod again: its own, opaque to all others. */
  readonly runtimeState: unknown;
  /** Milliseconds since RunPodSandbox came in, step by step. */
  readonly timeline: readonly TimelineStep[];
}

export interface TimelineStep {
  readonly step: string;
  readonly atMs: number;
}

export interface ContainerRecord {
  readonly version: 1;
  readonly id: ContainerId;
  readonly sandboxId: SandboxId;
  readonly metadata: { readonly name: string; readonly attempt: number };
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** The ContainerConfig as it came, protobuf bytes in base64. */
  readonly configBase64: string;
  readonly imageId: Digest;
  /** What the caller called the image. */
  readonly imageName: string;
  /** The signal that StopContainer sends first: the pod's wish, else the image's, else `TERM`; without `SIG`. */
  readonly stopSignal: string;
  /** Absolute path on the host; empty when the pod wants no logs. */
  readonly logPath: string;
  readonly createdAtNs: string;
  readonly status: ContainerStatusRecord;
}

export interface ContainerStatusRecord {
  /** Written before the first effect of CreateContainer; undone when found after a restart. */
  readonly intended: boolean;
  readonly startedAtNs: string;
  readonly finishedAtNs: string;
  readonly exitCode: number;
  /** `Completed`, `Error`, `OOMKilled`, `StartError`, or empty. */
  readonly reason: string;
  readonly message: string;
  readonly user: { readonly uid: number; readonly gid: number; readonly supplementalGroups: readonly number[] } | null;
  readonly removing: boolean;
  /** LinuxContainerResources in force since the last UpdateContainerResources, as configBase64; empty: as created. */
  readonly resourcesBase64: string;
}
