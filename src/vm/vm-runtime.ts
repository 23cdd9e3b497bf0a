/** PodRuntime for pods in virtual machines: orchestration only. */
import { rm } from 'node:fs/promises';
import type { AgentEvents } from '../agent/agent.ts';
import { sleep, withDeadline } from '../base/deadline.ts';
import { describeError, HuskError } from '../base/errors.ts';
import { type LinuxContainerResources, PodSandboxConfig } from '../gen/cri/v1/api.ts';
import { cgroupSettings } from '../oci/cgroup-settings.ts';
import type { ContainerWish, ExecCommand, ExecSyncResult, PodRuntime, StreamWish } from '../pod/pod-runtime.ts';
import type { ContainerRecord, ContainerStatusRecord, SandboxRecord, SandboxStatus } from '../pod/records.ts';
import type { Timeline } from '../pod/timeline.ts';
import type { PodUse, UseRequest } from '../pod/usage.ts';
import { createContainer } from './container-create.ts';
import { lastWords } from './last-words.ts';
import { exitOf, type LivePod } from './live-pod.ts';
import type { VmRuntimeOptions } from './options.ts';
import { logPositionPath, podFolders } from './pod-places.ts';
import { LookTurns, podUse } from './pod-use.ts';
import { recoverPod } from './sandbox-recover.ts';
import { startPod } from './sandbox-run.ts';
import { removePod, stopPod } from './sandbox-teardown.ts';
import { Turns } from './turns.ts';
import { vmEvents } from './vm-events.ts';

/** CRI: each stream of ExecSync is cut at 16 MiB. */
const maxExecOutputBytes = 16 * 1024 * 1024;
/** From the guest's word that a process was killed to its exit event with all output before it. */
const exitEventMs = 30_000;
/** From the end of a VM's file server to the news of the VM's own end, if that is why. */
const vmEndMs = 500;

export class VmRuntime implements PodRuntime {
  readonly name = 'vm';
  /** To be given to the agent hub. */
  readonly agentEvents: AgentEvents;
  readonly #options: VmRuntimeOptions;
  readonly #pods = new Map<string, Promise<LivePod>>();
  /** Pods that were stopped to the end: CRI stops again on removal, and a second DEL of all plugins is dear. */
  readonly #stopped = new Set<string>();
  readonly #looks = new LookTurns();
  readonly #turns = new Turns();

  constructor(options: VmRuntimeOptions) {
    this.#options = options;
    this.agentEvents = vmEvents(options, {
      find: async (id) => this.#pods.get(id)?.catch(() => undefined),
      lost: (id, reason) => void this.#lose(id, reason),
    });
  }

  async runSandbox(
    record: SandboxRecord,
    config: PodSandboxConfig,
    signal: AbortSignal,
  ): Promise<Pick<SandboxStatus, 'ips' | 'runtimeState' | 'timeline'>> {
    const started = this.#turns.take(signal, () => startPod({ options: this.#options, record, config, signal }));
    const { pod, status, timeline } = await this.#adopt(record.id, started);
    this.#watch(record.id, pod);
    void this.#stampFirstAnswer(record.id, pod, timeline);
    return status;
  }

  async stopSandbox(record: SandboxRecord): Promise<void> {
    if (this.#stopped.has(record.id)) return;
    const pod = await this.#find(record.id);
    if (pod !== undefined) pod.stopping = true;
    await stopPod(this.#options, record, pod, (live) => lastWords(live, this.#options.log));
    this.#pods.delete(record.id);
    this.#stopped.add(record.id);
    for (const exit of pod?.exits.values() ?? []) exit.resolve();
  }

  async removeSandbox(record: SandboxRecord): Promise<void> {
    await this.stopSandbox(record);
    const uid = await removePod(this.#options, record);
    this.#stopped.delete(record.id);
    if (uid !== undefined) this.#options.uids.give(uid);
  }

  async sweep(record: SandboxRecord): Promise<void> {
    await this.removeSandbox(record);
  }

  async recover(record: SandboxRecord, containers: readonly ContainerRecord[]): Promise<boolean> {
    const recovered = recoverPod({ options: this.#options, record, containers });
    const { pod } = await this.#adopt(
      record.id,
      recovered.then((found) => {
        if (found === undefined) throw new HuskError('not-found', `VM of pod "${record.id.slice(0, 12)}": gone`);
        return { pod: found };
      }),
    ).catch((caught: unknown) => {
      this.#options.log.warn({ sandbox: record.id, error: describeError(caught) }, 'pod is gone');
      return { pod: undefined };
    });
    if (pod !== undefined) this.#watch(record.id, pod);
    else await stopPod(this.#options, record, undefined);
    return pod !== undefined;
  }

  async createContainer(
    sandbox: SandboxRecord,
    container: ContainerRecord,
    wish: ContainerWish,
    signal: AbortSignal,
  ): Promise<Pick<ContainerStatusRecord, 'user'>> {
    const pod = await this.#need(sandbox.id);
    const sandboxConfig = PodSandboxConfig.decode(Buffer.from(sandbox.configBase64, 'base64'));
    const input = { options: this.#options, pod, sandbox, container, sandboxConfig, ...wish, signal };
    return this.#turns.take(signal, () => createContainer(input));
  }

  async startContainer(
    sandbox: SandboxRecord,
    container: ContainerRecord,
    signal: AbortSignal,
  ): Promise<{ startedAtNs: bigint }> {
    const pod = await this.#need(sandbox.id);
    pod.running.add(container.id);
    exitOf(pod, container.id);
    try {
      const { startedAtNs } = await pod.agent.startContainer(container.id, this.#call(signal));
      return { startedAtNs };
    } catch (caught) {
      pod.running.delete(container.id);
      throw HuskError.from(caught, 'start');
    }
  }

  async stopContainer(sandbox: SandboxRecord, container: ContainerRecord, graceSeconds: number): Promise<void> {
    const pod = await this.#find(sandbox.id);
    if (pod === undefined || !pod.running.has(container.id)) return;
    const graceMs = graceSeconds * 1000;
    const exited = exitOf(pod, container.id).promise;
    const timeoutMs = graceMs + this.#options.deadlines.agentCallMs;
    await pod.agent.stopContainer(
      { containerId: container.id, signal: container.stopSignal, graceMs: BigInt(graceMs) },
      { timeoutMs },
    );
    await withDeadline(`exit of container "${container.id.slice(0, 12)}"`, exitEventMs, undefined, () => exited);
  }

  async signalContainer(sandbox: SandboxRecord, container: ContainerRecord, signal: string): Promise<void> {
    const pod = await this.#need(sandbox.id);
    const request = { containerId: container.id, signal, graceMs: 0n, signalOnly: true };
    await pod.agent.stopContainer(request, this.#call());
  }

  async removeContainer(sandbox: SandboxRecord, container: ContainerRecord): Promise<void> {
    const pod = await this.#find(sandbox.id);
    if (pod !== undefined) {
      await pod.agent.removeContainer(container.id, this.#call());
      await pod.logs.get(container.id)?.close();
      pod.logs.delete(container.id);
      pod.exits.delete(container.id);
      pod.running.delete(container.id);
    }
    await rm(logPositionPath(podFolders(this.#options, sandbox.id).data, container.id), { force: true });
  }

  async execSync(
    sandbox: SandboxRecord,
    container: ContainerRecord,
    { command, timeoutSeconds }: ExecCommand,
    signal: AbortSignal,
  ): Promise<ExecSyncResult> {
    const pod = await this.#need(sandbox.id);
    const request = {
      containerId: container.id,
      command: [...command],
      timeoutMs: timeoutSeconds * 1000,
      maxOutputBytes: maxExecOutputBytes,
    };
    const { stdout, stderr, exitCode, timedOut } = await pod.agent.execSync(request, signal);
    if (timedOut) {
      throw new HuskError(
        'deadline-exceeded',
        `exec "${command.join(' ').slice(0, 200)}": killed after ${timeoutSeconds} s`,
        { stage: 'exec' },
      );
    }
    return { stdout, stderr, exitCode };
  }

  async streamUrl(sandbox: SandboxRecord, wish: StreamWish, signal: AbortSignal): Promise<string> {
    const pod = await this.#need(sandbox.id);
    if (wish.route === 'port-forward')
      return await pod.agent.streamUrl({ $case: 'portForward', value: {} }, this.#call(signal));
    const { route, container, command, tty, stdin, stdout, stderr } = wish;
    const value = { containerId: container.id, command: [...command], tty, stdin, stdout, stderr };
    return await pod.agent.streamUrl({ $case: route, value }, this.#call(signal));
  }

  async reopenLog(sandbox: SandboxRecord, container: ContainerRecord): Promise<void> {
    const log = (await this.#need(sandbox.id)).logs.get(container.id);
    if (log === undefined)
      throw new HuskError('failed-precondition', `reopen log of container "${container.id}": it has none`);
    await log.reopen();
  }

  async stats(sandbox: SandboxRecord, request: UseRequest, signal: AbortSignal): Promise<PodUse> {
    const pod = await this.#need(sandbox.id);
    return await podUse({ options: this.#options, turns: this.#looks, pod, sandbox, request, signal });
  }

  async updateContainer(
    sandbox: SandboxRecord,
    container: ContainerRecord,
    resources: LinuxContainerResources,
    signal: AbortSignal,
  ): Promise<void> {
    const pod = await this.#need(sandbox.id);
    const settings = cgroupSettings(resources);
    await pod.agent.updateContainer({ containerId: container.id, settings }, this.#call(signal));
  }

  #call(signal?: AbortSignal): { timeoutMs: number; signal?: AbortSignal } {
    return { timeoutMs: this.#options.deadlines.agentCallMs, ...(signal === undefined ? {} : { signal }) };
  }

  /** An agent that does not answer is a lost link, which is told in another way. */
  async #stampFirstAnswer(id: string, pod: LivePod, timeline: Timeline): Promise<void> {
    const timeoutMs = this.#options.deadlines.bootAnswerMs;
    try {
      await pod.agent.hello({ timeoutMs });
    } catch (caught) {
      this.#options.log.debug({ sandbox: id, error: describeError(caught) }, 'no first answer of the agent');
      return;
    }
    timeline.stamp('agent');
    if (!pod.stopping) this.#options.events.saveSandbox(id, { timeline: timeline.steps() });
  }

  /** Events may come before the start is done: they wait for the pod. */
  async #adopt<T extends { pod: LivePod }>(id: string, start: Promise<T>): Promise<T> {
    const pod = start.then((started) => started.pod);
    pod.catch(() => undefined);
    this.#pods.set(id, pod);
    try {
      return await start;
    } catch (caught) {
      this.#pods.delete(id);
      throw caught;
    }
  }

  async #find(id: string): Promise<LivePod | undefined> {
    return this.#pods.get(id)?.catch(() => undefined);
  }

  async #need(id: string): Promise<LivePod> {
    const pod = await this.#find(id);
    if (pod !== undefined) return pod;
    throw new HuskError('failed-precondition', `pod "${id.slice(0, 12)}": its VM is not running`, {
      hint: 'remove the pod; the kubelet makes a new one',
    });
  }

  #watch(id: string, pod: LivePod): void {
    void pod.shareLost.then(async (reason) => {
      // It ends with its VM: the VM's own end says more.
      await sleep(vmEndMs);
      if (!pod.stopping) void this.#lose(id, reason);
    });
    void pod.vm.exited.then(({ reason, consoleTail }) => {
      if (!pod.stopping)
        void this.#lose(
          id,
          consoleTail === '' ? reason : `${reason}; the guest's console ends with "${consoleTail.slice(-600)}"`,
        );
    });
  }

  /** The VM or its agent is gone without being asked to: nothing of it can be used any more. */
  async #lose(id: string, reason: string): Promise<void> {
    const pod = await this.#find(id);
    if (pod === undefined || pod.stopping) return;
    pod.stopping = true;
    this.#pods.delete(id);
    const { hub, events, log } = this.#options;
    log.error({ sandbox: id, reason }, 'pod lost its VM');
    await pod.volumes.close();
    await hub
      .detach(id)
      .catch((caught: unknown) => log.warn({ sandbox: id, error: describeError(caught) }, 'detach failed'));
    await pod.vm
      .destroy()
      .catch((caught: unknown) => log.warn({ sandbox: id, error: describeError(caught) }, 'destroy failed'));
    for (const containerLog of pod.logs.values()) await containerLog.close();
    events.onSandboxLost(id, reason);
    for (const exit of pod.exits.values()) exit.resolve();
  }
}
