/** A pod's network on the host: a namespace, the CNI plugins' work in it, and for VMs a tap. */

import type { InterfaceUse } from '../base/interface-use.ts';

export type { InterfaceUse } from '../base/interface-use.ts';

export interface PortMapping {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly containerPort: number;
  readonly hostPort: number;
  readonly hostIp: string;
}

/** Limits of the pod's traffic, for plugins that declare the capability. */
export interface Bandwidth {
  readonly ingressBitsPerSecond?: number;
  readonly egressBitsPerSecond?: number;
}

export interface NetworkRequest {
  readonly sandboxId: string;
  readonly netnsPath: string;
  readonly podName: string;
  readonly podNamespace: string;
  readonly podUid: string;
  readonly portMappings: readonly PortMapping[];
  readonly cgroupParent?: string;
  readonly bandwidth?: Bandwidth;
}

/** What the pod's interface is, read from the CNI result and from the namespace. */
export interface PodInterface {
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  /** CIDR notation. */
  readonly addresses: readonly string[];
  readonly routes: readonly { readonly destination: string; readonly gateway: string }[];
  readonly dns: {
    readonly nameservers: readonly string[];
    readonly searches: readonly string[];
    readonly options: readonly string[];
  };
}

export interface Network {
  /** Ready when a usable configuration and its plugins are there; else why not. Read anew each time it changed. */
  status(): Promise<{ readonly ready: boolean; readonly reason: string; readonly message: string }>;
  /** Where the sandbox's namespace is, or will be. */
  namespacePath(sandboxId: string): string;
  /** Creates the namespace, with loopback up. Returns its path. */
  createNamespace(sandboxId: string, signal?: AbortSignal): Promise<string>;
  /** Runs ADD of the plugins. On error DEL was run for what ADD did. */
  attach(request: NetworkRequest, signal?: AbortSignal): Promise<PodInterface>;
  /**
   * Joins the tap that the VM's launcher made in the namespace with the interface:
   * redirected both ways, MTU kept, only the pod's own MAC and addresses let out.
   */
  joinTap(netnsPath: string, podInterface: PodInterface, signal?: AbortSignal): Promise<void>;
  /** Runs DEL, always, also with the namespace gone; succeeds when nothing is there. */
  detach(request: NetworkRequest): Promise<void>;
  /** Removes the namespace; absent is fine. */
  removeNamespace(sandboxId: string): Promise<void>;
  /**
   * What the interfaces of a pod counted, without loopback and without the tap; calls of one moment
   * share one look. None when its namespace is gone.
   */
  use(sandboxId: string): Promise<readonly InterfaceUse[]>;
  /** The pod CIDR of UpdateRuntimeConfig, for configurations made from a template. */
  setPodCidr(cidr: string): Promise<void>;
}

/** Name of the tap in every pod's namespace. */
export const tapName = 'tap0';
