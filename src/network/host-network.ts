import { setImmediate } from 'node:timers/promises';
import { describeError, HuskError, isKind } from '../base/errors.ts';
import { run } from '../base/exec.ts';
import type { InterfaceUse } from '../base/interface-use.ts';
import type { Log } from '../base/log.ts';
import { AttachmentStore, type StoredAttachment } from './cni/attachment-store.ts';
import { addChain, type ChainRun, deleteChain, statusChain } from './cni/chain.ts';
import type { NetworkConfig } from './cni/config.ts';
import { type ConfigFolders, ConfigLoader } from './cni/load-config.ts';
import { type Attachment, attachmentOf, interfaceName } from './cni/request.ts';
import type { CniResult } from './cni/result.ts';
import { type Dress, dressForDelete, looksAtAddresses } from './cni/stand-in.ts';
import { readInterfaceUse } from './interface-use.ts';
import { isNamespace, NamedNamespaces } from './netns.ts';
import { type Network, type NetworkRequest, type PodInterface, tapName } from './network.ts';
import { parsePodCidrs, renderedName, writeFromTemplate } from './pod-cidr.ts';
import { ipQueries, readPodInterface } from './pod-interface.ts';
import { joinTap } from './tap/join-tap.ts';

export interface NetworkOptions extends ConfigFolders {
  /** Where it is remembered what plugins were called with; must outlive a reboot, as address leases do. */
  readonly attachmentsFolder: string;
  /** How the names of this daemon's network namespaces begin; `husk` by default. */
  readonly namePrefix?: string;
  /** Template for UpdateRuntimeConfig; without one the pod CIDR is only checked and logged. */
  readonly podCidrTemplate?: string;
  /** The longest that ADD of all plugins together, and DEL of each, may take. */
  readonly cniTimeoutMs?: number;
  /** Path of the program husk-netuse. */
  readonly netuse: string;
}

const defaultCniTimeoutMs = 60_000;
const statusTimeoutMs = 5_000;

/** The network of this host, by CNI plugins. Nothing is touched before the first call. */
export function createNetwork(options: NetworkOptions, log: Log): Network {
  return new HostNetwork(options, log);
}

class HostNetwork implements Network {
  readonly #options: NetworkOptions;
  readonly #log: Log;
  readonly #loader: ConfigLoader;
  readonly #attachments: AttachmentStore;
  readonly #namespaces: NamedNamespaces;
  readonly #asked = new Set<string>();
  #look: Promise<Map<string, InterfaceUse[]>> | undefined;

  constructor(options: NetworkOptions, log: Log) {
    this.#options = options;
    this.#log = log;
    this.#namespaces = new NamedNamespaces('/run/netns', options.namePrefix);
    this.#loader = new ConfigLoader(options, log);
    this.#attachments = new AttachmentStore(options.attachmentsFolder);
  }

  async status(): Promise<{ ready: boolean; reason: string; message: string }> {
    try {
      const { network } = await this.#loader.load();
      await statusChain({ ...this.#chain(network, undefined, ''), timeoutMs: statusTimeoutMs });
      return { ready: true, reason: '', message: '' };
    } catch (caught) {
      return { ready: false, reason: 'NetworkPluginNotReady', message: describeError(caught) };
    }
  }

  namespacePath(sandboxId: string): string {
    return this.#namespaces.path(sandboxId);
  }

  async createNamespace(sandboxId: string, signal?: AbortSignal): Promise<string> {
    return await this.#namespaces.create(sandboxId, signal);
  }

  async removeNamespace(sandboxId: string): Promise<void> {
    await this.#namespaces.remove(sandboxId);
  }

  async use(sandboxId: string): Promise<readonly InterfaceUse[]> {
    const path = this.namespacePath(sandboxId);
    this.#asked.add(path);
    this.#look ??= this.#lookAtAll();
    return (await this.#look).get(path) ?? [];
  }

  /** A list of statistics asks for all pods in one turn of the event loop: one process answers them all. */
  async #lookAtAll(): Promise<Map<string, InterfaceUse[]>> {
    await setImmediate();
    const paths = [...this.#asked];
    this.#asked.clear();
    this.#look = undefined;
    return await readInterfaceUse(this.#options.netuse, paths, ['lo', tapName]);
  }

  async attach(request: NetworkRequest, signal?: AbortSignal): Promise<PodInterface> {
    const attachment = attachmentOf(request);
    const { network } = await this.#loader.load();
    if (!(await isNamespace(request.netnsPath))) {
      throw new HuskError('failed-precondition', `CNI ADD in "${request.netnsPath}": there is no network namespace`, {
        stage: 'cni-add',
      });
    }
    signal?.throwIfAborted();
    await this.#attachments.save({ network, attachment, result: undefined });
    let result: CniResult | undefined;
    try {
      result = await addChain(this.#chain(network, attachment, request.netnsPath, signal));
      await this.#attachments.save({ network, attachment, result: result.raw });
      return await this.#readInterface(request.netnsPath, result, signal);
    } catch (caught) {
      await this.#undoAttach(request, caught);
      throw caught;
    }
  }

  async joinTap(netnsPath: string, podInterface: PodInterface, signal?: AbortSignal): Promise<void> {
    await joinTap(netnsPath, podInterface, signal);
  }

  async detach(request: NetworkRequest): Promise<void> {
    const stored = await this.#recall(request.sandboxId);
    const network = stored?.network ?? (await this.#configured(request.sandboxId));
    if (network === undefined) return;
    const attachment = stored?.attachment ?? attachmentOrBare(request);
    await this.#delete(request, { network, attachment, result: stored?.result });
    await this.#attachments.remove(request.sandboxId);
  }

  async setPodCidr(cidr: string): Promise<void> {
    const cidrs = parsePodCidrs(cidr);
    const { podCidrTemplate, configFolder } = this.#options;
    if (podCidrTemplate === undefined) {
      this.#log.info({ cidrs }, 'pod CIDR received; no CNI template is configured, so nothing is written');
      return;
    }
    const ours = await this.#loader.load().then(
      ({ file }) => file.endsWith(`/${renderedName}`),
      () => true,
    );
    if (!ours)
      return this.#log.info({ cidrs }, 'pod CIDR received; another CNI configuration is in force and stays so');
    await writeFromTemplate(podCidrTemplate, configFolder, cidrs);
    this.#log.info({ cidrs, file: renderedName }, 'CNI configuration written from the template');
  }

  /**
   * A plugin that takes away its rules by the addresses fails when the rules are gone already
   * (bridge 1.1.1: `Chain ... does not exist`), as after a DEL that was cut short. So what failed
   * with the addresses put back is tried without them.
   */
  async #delete(request: NetworkRequest, stored: StoredAttachment): Promise<void> {
    const deleteNow = async (): Promise<void> => {
      const netnsPath = (await isNamespace(request.netnsPath)) ? request.netnsPath : '';
      await deleteChain(this.#chain(stored.network, stored.attachment, netnsPath), stored.result);
    };
    const dress = await this.#dress(request, stored);
    if (dress === undefined) return await deleteNow();
    try {
      await deleteNow();
      if (dress.standIn) await dress.takeAway();
    } catch (caught) {
      await dress.takeAway();
      if (isKind(caught, 'deadline-exceeded')) throw caught;
      await deleteNow();
    }
  }

  #chain(
    network: NetworkConfig,
    attachment: Attachment | undefined,
    netnsPath: string,
    signal?: AbortSignal,
  ): ChainRun {
    return {
      network,
      attachment,
      netnsPath,
      signal,
      pluginFolders: this.#options.pluginFolders,
      program: (type) => this.#loader.findProgram(type),
      timeoutMs: this.#options.cniTimeoutMs ?? defaultCniTimeoutMs,
    };
  }

  async #readInterface(netnsPath: string, result: CniResult, signal?: AbortSignal): Promise<PodInterface> {
    const printed = await run('nsenter', [`--net=${netnsPath}`, 'ip', '-json', '-batch', '-'], {
      timeoutMs: statusTimeoutMs,
      signal,
      stage: 'cni-add',
      input: ipQueries(interfaceName),
    });
    return readPodInterface(interfaceName, result, printed);
  }

  /** Not on the caller's signal: that may be what ended ADD. What cannot be undone now is left to detach. */
  async #undoAttach(request: NetworkRequest, cause: unknown): Promise<void> {
    const { sandboxId } = request;
    await this.detach(request).catch((caught: unknown) => {
      this.#log.warn(
        { sandboxId, err: caught, after: describeError(cause) },
        'CNI DEL after a failed ADD failed too; detach will try again',
      );
    });
  }

  async #recall(sandboxId: string): Promise<StoredAttachment | undefined> {
    try {
      return await this.#attachments.load(sandboxId);
    } catch (caught) {
      if (HuskError.from(caught).kind !== 'data-loss') throw caught;
      this.#log.error(
        { sandboxId, err: caught },
        'what CNI ADD was called with is not known any more: DEL by the present configuration',
      );
      return undefined;
    }
  }

  async #configured(sandboxId: string): Promise<NetworkConfig | undefined> {
    try {
      return await this.#loader.configured();
    } catch (caught) {
      this.#log.info(
        { sandboxId, reason: describeError(caught) },
        'nothing is attached and no CNI configuration is there: no DEL',
      );
      return undefined;
    }
  }

  /** Undefined when there is nothing to put back, or it cannot be done. */
  async #dress(request: NetworkRequest, stored: StoredAttachment): Promise<Dress | undefined> {
    if (stored.result === undefined || !looksAtAddresses(stored.network)) return undefined;
    try {
      return await dressForDelete(this.#namespaces, request.sandboxId, request.netnsPath, stored.result);
    } catch (caught) {
      this.#log.debug({ sandboxId: request.sandboxId, err: caught }, 'the addresses could not be put back for CNI DEL');
      return undefined;
    }
  }
}

/** Names that ADD would refuse must not keep DEL from running. */
function attachmentOrBare(request: NetworkRequest): Attachment {
  try {
    return attachmentOf(request);
  } catch {
    return { sandboxId: request.sandboxId, args: 'IgnoreUnknown=1', runtimeConfig: {} };
  }
}
