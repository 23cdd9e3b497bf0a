/** Pods: run, stop, remove, tell. */
import { HuskError } from '../../base/errors.ts';
import { newSandboxId, type SandboxId } from '../../base/ids.ts';
import { PodSandboxConfig } from '../../gen/cri/v1/api.ts';
import { type SandboxFilter, sandboxMatches } from '../filter.ts';
import type { SandboxRecord } from '../records.ts';
import { chooseRuntime, type Route } from '../routing.ts';
import { canHoldContainers, isVisible } from '../sandbox-state.ts';
import { bounded } from './bounded.ts';
import { type EngineCore, endContainers, inTurn, removeSandboxFully, sweepSandbox } from './core.ts';
import { runtimeOf } from './runtimes.ts';

/** Below the four minutes that a kubelet gives RunPodSandbox: the rest is for taking it back. */
const runSandboxMs = 220_000;

/** The operations on pods. Configs that come in were validated. */
export class SandboxService {
  readonly #core: EngineCore;

  constructor(core: EngineCore) {
    this.#core = core;
  }

  /**
   * Makes a pod. When this returns it is ready; when it throws nothing is left of it.
   *
   * @throws HuskError `already-exists` when the name is taken; `invalid-argument` and
   *   `failed-precondition` of routing; what the runtime throws
   */
  async run(config: PodSandboxConfig, runtimeHandler: string, signal: AbortSignal): Promise<SandboxId> {
    const core = this.#core;
    const route = chooseRuntime(config, runtimeHandler, core.policy);
    this.#checkIsolation(route);
    const record = this.#newRecord(config, runtimeHandler, route);
    const runtime = runtimeOf(core.runtimes, route.runtime);
    core.store.addSandbox(record);
    return await inTurn(core, { key: record.id, what: 'RunPodSandbox' }, async () => {
      try {
        const made = await bounded('RunPodSandbox', runSandboxMs, signal, (inner) =>
          runtime.runSandbox(record, config, inner),
        );
        this.#checkNotLost(record.id);
        core.store.patchSandbox(record.id, { ...made, phase: 'ready' });
      } catch (caught) {
        await sweepSandbox(core, record);
        throw caught;
      }
      core.log.info({ sandbox: record.id, runtime: route.runtime, why: route.reason }, 'pod is ready');
      return record.id;
    });
  }

  /** Ends a pod's containers and gives its network back. Unknown or stopped: nothing to do, as CRI demands. */
  async stop(idOrPrefix: string, signal?: AbortSignal): Promise<void> {
    const core = this.#core;
    const id = core.store.findSandbox(idOrPrefix)?.id;
    if (id === undefined) return;
    await inTurn(core, { key: id, what: 'StopPodSandbox', signal }, async () => {
      const record = core.store.findSandbox(id);
      if (record === undefined) return;
      // Also when it is not ready: an earlier stop may have failed half way, a lost pod still holds its network.
      await runtimeOf(core.runtimes, record.runtime).stopSandbox(record);
      endContainers(core, id, 'the pod was stopped');
      if (record.status.phase === 'ready') core.store.patchSandbox(id, { phase: 'not-ready' });
      core.log.info({ sandbox: id }, 'pod is stopped');
    });
  }

  /** Takes a pod away with its containers. Unknown: nothing to do, as CRI demands. */
  async remove(idOrPrefix: string, signal?: AbortSignal): Promise<void> {
    const core = this.#core;
    const id = core.store.findSandbox(idOrPrefix)?.id;
    if (id === undefined) return;
    await inTurn(core, { key: id, what: 'RemovePodSandbox', signal }, async () => {
      const record = core.store.findSandbox(id);
      if (record === undefined) return;
      await removeSandboxFully(core, record);
      core.log.info({ sandbox: id }, 'pod is removed');
    });
  }

  /** One pod, by id or prefix. @throws HuskError `not-found` */
  get(idOrPrefix: string): SandboxRecord {
    const record = this.#core.store.findSandbox(idOrPrefix);
    if (record !== undefined && isVisible(record.status.phase)) return record;
    throw new HuskError(
      'not-found',
      `find pod sandbox ${JSON.stringify(idOrPrefix.slice(0, 64))}: no such pod sandbox`,
    );
  }

  /** A URL at which a client reaches ports of the pod's loopback. @throws HuskError `not-found`, `failed-precondition` */
  async portForwardUrl(idOrPrefix: string, signal: AbortSignal): Promise<string> {
    const record = this.get(idOrPrefix);
    if (!canHoldContainers(record.status.phase)) {
      throw new HuskError(
        'failed-precondition',
        `forward ports of pod sandbox "${record.id}": it is ${record.status.phase}, wanted ready`,
      );
    }
    return await runtimeOf(this.#core.runtimes, record.runtime).streamUrl(record, { route: 'port-forward' }, signal);
  }

  /** The pods that pass the filter. */
  list(filter: SandboxFilter): SandboxRecord[] {
    return this.#core.store.sandboxes().filter((record) => sandboxMatches(record, filter));
  }

  /** Under emulation a virtual machine is no wall: only who said so gets pods there. */
  #checkIsolation(route: Route): void {
    const { accelerator, allowEmulation } = this.#core.policy;
    if (route.runtime !== 'vm' || accelerator === 'kvm' || allowEmulation) return;
    throw new HuskError(
      'failed-precondition',
      'run a pod in a virtual machine: this node only emulates ("tcg"), which isolates nothing',
      { stage: 'route', hint: 'use a node with KVM, or start huskd with --allow-emulation for development' },
    );
  }

  /** A pod that was lost while it came up was lost for good, whatever its runtime returned. */
  #checkNotLost(id: SandboxId): void {
    const reason = this.#core.store.findSandbox(id)?.status.reason ?? '';
    if (reason !== '') throw new HuskError('unavailable', `run pod sandbox "${id}": it was lost: ${reason}`);
  }

  #newRecord(config: PodSandboxConfig, runtimeHandler: string, route: Route): SandboxRecord {
    const { name = '', namespace = '', uid = '', attempt = 0 } = config.metadata ?? {};
    return {
      version: 1,
      id: newSandboxId(),
      metadata: { name, namespace, uid, attempt },
      labels: config.labels,
      annotations: config.annotations,
      configBase64: Buffer.from(PodSandboxConfig.encode(config).finish()).toString('base64'),
      runtimeHandler,
      runtime: route.runtime,
      runtimeReason: route.reason,
      createdAtNs: this.#core.clock.wallNs().toString(),
      status: { phase: 'intended', reason: '', ips: [], runtimeState: null, timeline: [] },
    };
  }
}
