import type { Clock } from '../base/clock.ts';
import type { Failpoints } from '../base/failpoints.ts';
import type { Log } from '../base/log.ts';
import type { CgroupTrees } from '../cgroups/trees.ts';
import type { StreamUrlRequest } from '../gen/gateway/v1/gateway.ts';
import type { Network } from '../network/network.ts';
import type { PodRuntimeEvents } from '../pod/pod-runtime.ts';
import type { ForegroundStreams } from './foreground.ts';
import type { HostFacts } from './host-facts.ts';

export interface NativeRuntimeOptions {
  readonly network: Network;
  readonly cgroups: CgroupTrees;
  readonly events: PodRuntimeEvents;
  readonly log: Log;
  readonly clock: Clock;
  readonly failpoints: Failpoints;
  /** Folder for what ends with the machine: mounts, namespaces, bundles. */
  readonly stateFolder: string;
  /** Folder for the containers' writable layers; no overlayfs itself. */
  readonly dataFolder: string;
  readonly programs: NativePrograms;
  readonly host: HostFacts;
  readonly streams: StreamGateway;
  /** Containers run in the foreground with these streams, without conmon: of a direct run. */
  readonly foreground?: ForegroundStreams | undefined;
}

/** Who serves the clients of exec, attach and port-forward. */
export interface StreamGateway {
  /** The URL of a stream. @throws HuskError `resource-exhausted`, `unavailable` */
  url(request: StreamUrlRequest, signal: AbortSignal): Promise<string>;
  /** Its group: what it may open belongs to it. */
  readonly gatewayGid: number;
  /** What the processes that serve it become. */
  readonly uid: number;
}

export interface NativePrograms {
  /** By handler, `native` among them: OCI runtimes with runC's command line: runc, crun, youki. */
  readonly ociRuntimes: Readonly<Record<string, string>>;
  readonly conmon: string;
  /** husk-pod-init: PID 1 of a PID namespace that containers share. */
  readonly podInit: string;
  /** husk-native-exec, -attach and -ports: each serves one stream. */
  readonly streamExec: string;
  readonly streamAttach: string;
  readonly streamPorts: string;
  /** husk-userns: user namespaces, and mounts whose files belong to them. */
  readonly userns: string;
  readonly cgroupDriver: 'cgroupfs' | 'systemd';
}
