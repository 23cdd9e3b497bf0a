import { HuskError } from '../base/errors.ts';
import { shortId } from '../base/ids.ts';
import { attachmentOf } from './cni/request.ts';
import type { InterfaceUse, Network, NetworkRequest, PodInterface } from './network.ts';
import { parsePodCidrs } from './pod-cidr.ts';

/** The calls of a network that can be made to fail. */
export type FakeNetworkStep = 'createNamespace' | 'attach' | 'joinTap' | 'detach' | 'removeNamespace';

/** A network in memory: it keeps the promises of the seam, and what it holds can be looked at for leaks. */
export class FakeNetwork implements Network {
  readonly namespaces = new Set<string>();
  /** By sandbox id. */
  readonly attached = new Map<string, PodInterface>();
  /** Paths of the namespaces whose tap was joined. */
  readonly joined = new Set<string>();
  /** Why it is not ready; empty when it is. */
  notReady = '';
  podCidr = '';
  readonly #failures = new Map<FakeNetworkStep, HuskError>();
  #nextHost = 2;

  /** Lets the next call of the step fail. */
  failNext(step: FakeNetworkStep, error: HuskError): void {
    this.#failures.set(step, error);
  }

  async status(): Promise<{ ready: boolean; reason: string; message: string }> {
    if (this.notReady === '') return { ready: true, reason: '', message: '' };
    return { ready: false, reason: 'NetworkPluginNotReady', message: this.notReady };
  }

  namespacePath(sandboxId: string): string {
    return `/run/netns/husk-${shortId(sandboxId)}`;
  }

  async createNamespace(sandboxId: string, signal?: AbortSignal): Promise<string> {
    signal?.throwIfAborted();
    this.#fail('createNamespace');
    const path = this.namespacePath(sandboxId);
    if (this.namespaces.has(path))
      throw new HuskError('already-exists', `create network namespace "${path}": it exists`);
    this.namespaces.add(path);
    return path;
  }

  async attach(request: NetworkRequest, signal?: AbortSignal): Promise<PodInterface> {
    signal?.throwIfAborted();
    attachmentOf(request);
    this.#fail('attach');
    if (!this.namespaces.has(request.netnsPath)) {
      throw new HuskError('failed-precondition', `CNI ADD in "${request.netnsPath}": there is no network namespace`);
    }
    const host = this.#nextHost;
    this.#nextHost += 1;
    const hex = host.toString(16).padStart(4, '0');
    const podInterface: PodInterface = {
      name: 'eth0',
      mac: `02:00:00:00:${hex.slice(0, 2)}:${hex.slice(2)}`,
      mtu: 1500,
      addresses: [`10.88.${host >> 8}.${host & 255}/16`],
      routes: [{ destination: '0.0.0.0/0', gateway: '10.88.0.1' }],
      dns: { nameservers: [], searches: [], options: [] },
    };
    this.attached.set(request.sandboxId, podInterface);
    return podInterface;
  }

  async joinTap(netnsPath: string, _podInterface: PodInterface, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.#fail('joinTap');
    if (!this.namespaces.has(netnsPath)) throw new HuskError('not-found', `join tap in "${netnsPath}": it is gone`);
    this.joined.add(netnsPath);
  }

  async detach(request: NetworkRequest): Promise<void> {
    this.#fail('detach');
    this.attached.delete(request.sandboxId);
  }

  async removeNamespace(sandboxId: string): Promise<void> {
    this.#fail('removeNamespace');
    this.joined.delete(this.namespacePath(sandboxId));
    this.namespaces.delete(this.namespacePath(sandboxId));
  }

  async use(sandboxId: string): Promise<InterfaceUse[]> {
    if (!this.attached.has(sandboxId)) return [];
    const received = { rxBytes: 1n, rxPackets: 1n, rxErrors: 0n, rxDropped: 0n };
    return [{ name: 'eth0', ...received, txBytes: 2n, txPackets: 1n, txErrors: 0n, txDropped: 0n }];
  }

  async setPodCidr(cidr: string): Promise<void> {
    this.podCidr = parsePodCidrs(cidr).join(',');
  }

  #fail(step: FakeNetworkStep): void {
    const error = this.#failures.get(step);
    this.#failures.delete(step);
    if (error !== undefined) throw error;
  }
}
