/** The agents of all VM pods, as huskd sees them through the gateway. */
import type {
  CgroupSetting,
  ConfigureSandboxRequest,
  ConfigureSandboxResponse,
  ContainerOffsets,
  ContainerState,
  ContainerUse,
  CreateContainerRequest,
  CreateContainerResponse,
  HelloResponse,
  LastOutput,
  PutVolumeRequest,
  StartContainerResponse,
} from '../gen/agent/v1/agent.ts';
import type { StreamUrlRequest } from '../gen/gateway/v1/gateway.ts';

export interface ExecResult {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  readonly exitCode: number;
  readonly timedOut: boolean;
}

export interface CallOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** The agent of one VM. Every call is one whole RPC. */
export interface Agent {
  /** Waits for the agent's first answer, where it has not come yet. */
  hello(options: CallOptions): Promise<HelloResponse>;
  configureSandbox(request: ConfigureSandboxRequest, options: CallOptions): Promise<ConfigureSandboxResponse>;
  createContainer(request: CreateContainerRequest, options: CallOptions): Promise<CreateContainerResponse>;
  startContainer(containerId: string, options: CallOptions): Promise<StartContainerResponse>;
  /**
   * The signal, the grace, then SIGKILL; `signalOnly`: nothing but the signal; `lastWords`: kills, and tells where the
   * outputs end, unless the container had ended before.
   */
  stopContainer(
    request: { containerId: string; signal: string; graceMs: bigint; signalOnly?: boolean; lastWords?: boolean },
    options: CallOptions,
  ): Promise<LastOutput | undefined>;
  removeContainer(containerId: string, options: CallOptions): Promise<void>;
  /** Makes a volume, or brings a pushed one up to date. */
  putVolume(request: PutVolumeRequest, options: CallOptions): Promise<void>;
  listContainers(options: CallOptions): Promise<ContainerState[]>;
  /**
   * What the pod's containers use.
   * @param request `details`: also what must be asked process by process
   */
  stats(request: { details: boolean }, options: CallOptions): Promise<ContainerUse[]>;
  /** Sets limits of a container's cgroup (v2 files): all of them, or none. */
  updateContainer(request: { containerId: string; settings: CgroupSetting[] }, options: CallOptions): Promise<void>;
  execSync(
    request: { containerId: string; command: string[]; timeoutMs: number; maxOutputBytes: number },
    signal?: AbortSignal,
  ): Promise<ExecResult>;
  /** A URL at which one client joins a process or a port. */
  streamUrl(kind: NonNullable<StreamUrlRequest['kind']>, options: CallOptions): Promise<string>;
}

export interface AgentEvents {
  /**
   * Whole CRI log lines to append. The chunk is acknowledged to the guest when the
   * promise resolves; until then at most one chunk of the stream is in flight.
   */
  onLog(chunk: {
    readonly vmId: string;
    readonly containerId: string;
    readonly stream: 'stdout' | 'stderr';
    readonly endOffset: bigint;
    readonly lines: Uint8Array;
  }): Promise<void>;
  /** After the last log chunk of the container. Repeated until the promise resolves. */
  onExit(exit: {
    readonly vmId: string;
    readonly containerId: string;
    readonly exitCode: number;
    readonly oomKilled: boolean;
    readonly finishedAtNs: bigint;
  }): Promise<void>;
  /** The agent of the VM cannot be reached any more. */
  onLinkLost(vmId: string, reason: string): void;
}

/** The VM whose agent is wanted. */
export interface AttachRequest {
  readonly id: string;
  readonly agentSocket: string;
  /** 16 lower-case hex digits, the same for each attach of the VM; see `newLinkKey`. */
  readonly linkKey: string;
  readonly resume: readonly ContainerOffsets[];
}

export interface AgentHub {
  /**
   * Opens the link to a VM and waits for the agent's first answer.
   * @throws HuskError `deadline-exceeded`, `unavailable`
   */
  attach(vm: AttachRequest, options: CallOptions): Promise<{ readonly agent: Agent; readonly hello: HelloResponse }>;
  /**
   * Opens the link to a VM that has no identity yet and gives it this one, before anything reaches its agent.
   * The agent's first answer is not waited for: calls wait for it, and `onLinkLost` tells when it
   * does not come within the time of `options`.
   * @throws HuskError `internal` with what the guest could not do, `deadline-exceeded`, `unavailable`
   */
  attachNew(
    vm: Omit<AttachRequest, 'resume'> & { readonly configure: ConfigureSandboxRequest },
    options: CallOptions,
  ): Promise<{ readonly agent: Agent; readonly configured: ConfigureSandboxResponse }>;
  detach(vmId: string): Promise<void>;
  close(): Promise<void>;
}
