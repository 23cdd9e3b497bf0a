/** What the RPCs' files take from outside. Each takes only the parts it needs. */
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { ImageStore } from '../images/image-store.ts';
import type { CallObserver } from '../metrics/call.ts';
import type { PodTraces } from '../metrics/pod-traces.ts';
import type { PodEngine } from '../pod/engine/pod-engine.ts';

/** What CRI asks of the node's network. */
export interface NodeNetwork {
  /** Ready when pods can be given a network; else why not. */
  status(): Promise<{ readonly ready: boolean; readonly reason: string; readonly message: string }>;
  setPodCidr(cidr: string): Promise<void>;
}

/** Facts about this daemon that do not change while it runs. */
export interface RuntimeInfo {
  /** Semantic version of husk. */
  readonly version: string;
  readonly cgroupDriver: 'cgroupfs' | 'systemd';
  readonly accelerator: 'kvm' | 'tcg';
  /** Why this accelerator. */
  readonly acceleratorReason: string;
  readonly hypervisorVersion: string;
  readonly allowEmulation: boolean;
  /** Handlers of RuntimeClass that work here, the default one (`""`) not among them. */
  readonly handlers: readonly HandlerInfo[];
}

/** A handler of RuntimeClass, and which of CRI's optional features its pods really have. */
export interface HandlerInfo {
  readonly name: string;
  readonly recursiveReadOnlyMounts: boolean;
  readonly userNamespaces: boolean;
}

export interface CriContext {
  readonly engine: Pick<PodEngine, 'sandboxes' | 'containers' | 'stats' | 'events'>;
  readonly images: ImageStore;
  readonly network: NodeNetwork;
  readonly info: RuntimeInfo;
  readonly log: Log;
  readonly clock: Clock;
  /** Told of every call that has ended. */
  readonly observers?: readonly CallObserver[];
  /** What the calls of a pod's life did; shown by a verbose PodSandboxStatus. */
  readonly podTraces?: Pick<PodTraces, 'of'>;
}
