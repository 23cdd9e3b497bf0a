/** Containers: create, start, stop, remove, tell. */
import { HuskError } from '../../base/errors.ts';
import type { ContainerId } from '../../base/ids.ts';
import type { ContainerConfig, LinuxContainerResources } from '../../gen/cri/v1/api.ts';
import { encodeResources, mergeResources, resourcesOf } from '../container-resources.ts';
import { canExec, canStart, canStop, containerState, ended } from '../container-state.ts';
import { type ContainerFilter, containerMatches } from '../filter.ts';
import type { ExecSyncResult, PodRuntime, StreamWish } from '../pod-runtime.ts';
import type { ContainerRecord, SandboxRecord } from '../records.ts';
import { canHoldContainers } from '../sandbox-state.ts';
import { bounded } from './bounded.ts';
import { createContainer } from './container-create.ts';
import { type EngineCore, inTurn, removeContainerFully } from './core.ts';
import { runtimeOf } from './runtimes.ts';

/** Below the two minutes that a kubelet gives the call. */
const startMs = 100_000;
/** Files of a cgroup are written in no time; the rest is for a busy guest. */
const updateMs = 60_000;
/** Beyond this a number of seconds is as good as for ever, and no timer takes it in milliseconds. */
const maxSeconds = 2_000_000;
/** Exit code of a container that could not be started, as other runtimes have it. */
const startErrorExitCode = 128;

interface Found {
  readonly sandbox: SandboxRecord;
  readonly container: ContainerRecord;
  readonly runtime: PodRuntime;
}

/** The operations on containers. Configs that come in were validated. */
export class ContainerService {
  readonly #core: EngineCore;

  constructor(core: EngineCore) {
    this.#core = core;
  }

  /**
   * Makes a container in a ready pod. When this throws nothing is left of it.
   * @throws HuskError `not-found` for the pod or the image, `failed-precondition` for a pod that
   *   is not ready, `already-exists` for the name; what the runtime throws
   */
  async create(sandboxId: string, config: ContainerConfig, signal: AbortSignal): Promise<ContainerId> {
    return await createContainer(this.#core, sandboxId, config, signal);
  }

  /**
   * Starts a created container. One that cannot be started has ended, with reason `StartError`.
   * @throws HuskError `not-found`, `failed-precondition`; what the runtime throws
   */
  async start(idOrPrefix: string, signal: AbortSignal): Promise<void> {
    const { sandboxId, id } = this.get(idOrPrefix);
    await inTurn(this.#core, { key: sandboxId, what: 'StartContainer', signal }, async () => {
      const found = this.#find(id);
      const { status } = found.container;
      if (!canHoldContainers(found.sandbox.status.phase)) {
        throw wrongState(found.container, `its pod is ${found.sandbox.status.phase}`, 'a ready pod');
      }
      if (!canStart(status)) throw wrongState(found.container, containerState(status), 'created');
      await this.#start(found, signal);
      this.#core.log.info({ sandbox: sandboxId, container: id }, 'container is started');
    });
  }

  /**
   * Asks a container to end and kills it when the grace is over. Unknown or ended: nothing to
   * do, as CRI demands. Calls may overlap: a later one with less grace shortens an earlier one.
   */
  async stop(idOrPrefix: string, graceSeconds: number, signal?: AbortSignal): Promise<void> {
    const container = this.#core.store.findContainer(idOrPrefix);
    if (container === undefined) return;
    // What is under way first: a start must not overtake this stop. The grace itself is waited for out of turn.
    const running = await inTurn(this.#core, { key: container.sandboxId, what: 'StopContainer', signal }, async () => {
      const record = this.#core.store.findContainer(container.id);
      return record !== undefined && canStop(record.status) ? this.#find(record.id) : undefined;
    });
    if (running === undefined) return;
    await running.runtime.stopContainer(running.sandbox, running.container, Math.min(graceSeconds, maxSeconds));
    const left = this.#core.store.findContainer(container.id);
    if (left !== undefined && canStop(left.status)) {
      throw new HuskError('internal', `stop container "${container.id}": no exit was reported`, { stage: 'stop' });
    }
  }

  /** Sends a signal to a running container's first process. One that does not run gets none. */
  async signal(idOrPrefix: string, name: string): Promise<void> {
    const { sandbox, container, runtime } = this.#find(idOrPrefix);
    if (canStop(container.status)) await runtime.signalContainer(sandbox, container, name);
  }

  /** Takes a container away, killing it if it runs. Unknown: nothing to do, as CRI demands. */
  async remove(idOrPrefix: string, signal?: AbortSignal): Promise<void> {
    const core = this.#core;
    const known = core.store.findContainer(idOrPrefix);
    if (known === undefined) return;
    await inTurn(core, { key: known.sandboxId, what: 'RemoveContainer', signal }, async () => {
      const container = core.store.findContainer(known.id);
      if (container === undefined) return;
      const sandbox = core.store.findSandbox(container.sandboxId);
      if (sandbox !== undefined && canStop(container.status)) {
        await runtimeOf(core.runtimes, sandbox.runtime).stopContainer(sandbox, container, 0);
      }
      await removeContainerFully(core, sandbox, container);
      core.log.info({ sandbox: known.sandboxId, container: known.id }, 'container is removed');
    });
  }

  /** One container, by id or prefix. @throws HuskError `not-found` */
  get(idOrPrefix: string): ContainerRecord {
    const record = this.#core.store.findContainer(idOrPrefix);
    if (record !== undefined && !record.status.intended) return record;
    throw new HuskError('not-found', `find container ${JSON.stringify(idOrPrefix.slice(0, 64))}: no such container`);
  }

  /** The containers that pass the filter. */
  list(filter: ContainerFilter): ContainerRecord[] {
    return this.#core.store.containers().filter((record) => containerMatches(record, filter));
  }

  /**
   * Runs a command to its end. A command that fails is a result, not an error.
   *
   * @param timeoutSeconds zero: none
   * @throws HuskError `not-found`, `failed-precondition`, `deadline-exceeded` after the command was killed
   */
  async execSync(
    idOrPrefix: string,
    command: readonly string[],
    timeoutSeconds: number,
    signal: AbortSignal,
  ): Promise<ExecSyncResult> {
    const { sandbox, container, runtime } = this.#findRunning(idOrPrefix);
    return await runtime.execSync(
      sandbox,
      container,
      { command, timeoutSeconds: Math.min(timeoutSeconds, maxSeconds) },
      signal,
    );
  }

  /**
   * Changes limits of a container that has not exited: all of them or, when one is refused, none.
   * What is zero or empty stays as it is. ContainerStatus tells the new limits.
   * @throws HuskError `not-found`, `failed-precondition`, `invalid-argument`
   */
  async updateResources(idOrPrefix: string, change: LinuxContainerResources, signal: AbortSignal): Promise<void> {
    const { sandboxId, id } = this.get(idOrPrefix);
    await inTurn(this.#core, { key: sandboxId, what: 'UpdateContainerResources', signal }, async () => {
      const { sandbox, container, runtime } = this.#find(id);
      const state = containerState(container.status);
      if (state === 'exited' || container.status.removing) throw wrongState(container, state, 'created or running');
      await bounded('UpdateContainerResources', updateMs, signal, (inner) =>
        runtime.updateContainer(sandbox, container, change, inner),
      );
      const resourcesBase64 = encodeResources(mergeResources(resourcesOf(container), change));
      this.#core.store.patchContainer(id, { resourcesBase64 });
      this.#core.log.info({ sandbox: sandboxId, container: id }, 'limits of the container are changed');
    });
  }

  /**
   * A URL at which a client runs a command, or joins the container's streams.
   * @throws HuskError `not-found`, `failed-precondition`, `resource-exhausted`
   */
  async streamUrl(
    idOrPrefix: string,
    wish: Omit<Extract<StreamWish, { container: unknown }>, 'container'>,
    signal: AbortSignal,
  ): Promise<string> {
    const { sandbox, container, runtime } = this.#findRunning(idOrPrefix);
    return await runtime.streamUrl(sandbox, { ...wish, container }, signal);
  }

  /**
   * A URL at which a client joins all streams of a container that was not started yet, so that it misses nothing.
   * @throws HuskError `not-found`, `failed-precondition`
   */
  async attachCreated(
    idOrPrefix: string,
    { tty, stdin }: { readonly tty: boolean; readonly stdin: boolean },
    signal: AbortSignal,
  ): Promise<string> {
    const { sandbox, container, runtime } = this.#find(idOrPrefix);
    if (!canStart(container.status)) throw wrongState(container, containerState(container.status), 'created');
    const wish = { route: 'attach', command: [], tty, stdin, stdout: true, stderr: !tty, container } as const;
    return await runtime.streamUrl(sandbox, wish, signal);
  }

  /** Opens the log path anew. A container without a log has nothing to open. @throws HuskError `not-found`, `failed-precondition` */
  async reopenLog(idOrPrefix: string): Promise<void> {
    const { sandbox, container, runtime } = this.#findRunning(idOrPrefix);
    if (container.logPath !== '') await runtime.reopenLog(sandbox, container);
  }

  #find(idOrPrefix: string): Found {
    const container = this.get(idOrPrefix);
    const sandbox = this.#core.store.findSandbox(container.sandboxId);
    if (sandbox === undefined) {
      throw new HuskError(
        'not-found',
        `find pod sandbox "${container.sandboxId}" of container "${container.id}": gone`,
      );
    }
    return { sandbox, container, runtime: runtimeOf(this.#core.runtimes, sandbox.runtime) };
  }

  #findRunning(idOrPrefix: string): Found {
    const found = this.#find(idOrPrefix);
    if (canExec(found.container.status)) return found;
    throw wrongState(found.container, containerState(found.container.status), 'running');
  }

  async #start({ sandbox, container, runtime }: Found, signal: AbortSignal): Promise<void> {
    const { store, clock } = this.#core;
    try {
      const { startedAtNs } = await bounded('StartContainer', startMs, signal, (inner) =>
        runtime.startContainer(sandbox, container, inner),
      );
      store.patchContainer(container.id, { startedAtNs: startedAtNs.toString() });
    } catch (caught) {
      // It may run in spite of the error, for instance when only the answer was lost: a container
      // that is told to be dead must be.
      await runtime.stopContainer(sandbox, container, 0).catch((cleanup: unknown) => {
        this.#core.log.warn(
          { container: container.id, err: cleanup },
          'a container that did not start was not stopped',
        );
      });
      const now = store.findContainer(container.id);
      if (now !== undefined && containerState(now.status) !== 'exited') {
        const end = { exitCode: startErrorExitCode, finishedAtNs: clock.wallNs(), oomKilled: false };
        const status = ended(now.status, { ...end, message: HuskError.from(caught).message });
        store.patchContainer(container.id, { ...status, reason: 'StartError' });
      }
      throw caught;
    }
  }
}

function wrongState(container: ContainerRecord, found: string, wanted: string): HuskError {
  return new HuskError('failed-precondition', `use container "${container.id}": ${found}, wanted ${wanted}`);
}
