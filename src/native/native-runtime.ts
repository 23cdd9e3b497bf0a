/** PodRuntime for pods that run on the host itself: orchestration only. */
import { chmod, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { HuskError } from '../base/errors.ts';
import { type LinuxContainerResources, PodSandboxConfig } from '../gen/cri/v1/api.ts';
import { ociResources } from '../oci/resources.ts';
import type {
  ContainerWish,
  ExecCommand,
  ExecSyncResult,
  PodRuntime,
  PodRuntimeEvents,
  StreamWish,
} from '../pod/pod-runtime.ts';
import type { ContainerRecord, ContainerStatusRecord, SandboxRecord, SandboxStatus } from '../pod/records.ts';
import type { PodUse } from '../pod/usage.ts';
import { askContainerToEnd } from './ask-to-end.ts';
import { createContainer } from './container-create.ts';
import { destroyContainer } from './container-destroy.ts';
import { ContainerExits } from './container-exits.ts';
import type { NativeContext } from './context.ts';
import { execSync } from './exec-sync.ts';
import { ExitWatcher } from './exit-watcher.ts';
import { runInForeground } from './foreground.ts';
import { LayerMounts } from './layer-mounts.ts';
import { type LiveContainer, LiveContainers } from './live-containers.ts';
import { OciCli } from './oci-cli.ts';
import type { NativeRuntimeOptions } from './options.ts';
import { type ContainerPlaces, containerPlaces, podPlaces, sharedPlaces } from './places.ts';
import { podUse, WrittenBytes } from './pod-use.ts';
import { isContainerProcess, readPidFile, signalNumber, signalProcess } from './processes.ts';
import { reopenLog } from './reopen-log.ts';
import { podIsThere } from './sandbox-recover.ts';
import { startPod } from './sandbox-run.ts';
import { removePod, stopPod } from './sandbox-teardown.ts';
import { prepareStreams, streamUrl } from './stream-url.ts';

export type PreparedNative = (events: PodRuntimeEvents) => NativeRuntime;

/** Makes the folders and finds the mounts of an earlier daemon. What it returns makes the runtime. */
export async function prepareNative(options: Omit<NativeRuntimeOptions, 'events'>): Promise<PreparedNative> {
  const shared = sharedPlaces(options);
  for (const folder of [shared.exits, shared.runtimeRoot]) await mkdir(folder, { recursive: true, mode: 0o700 });
  await prepareStreams(shared.streams);
  // The gateway passes through to the sockets of VMs: it may not be made with a native pod's own mode.
  await mkdir(shared.pods, { recursive: true, mode: 0o711 });
  await chmod(shared.pods, 0o711);
  const layers = await LayerMounts.open(options);
  const { ociRuntimes, cgroupDriver } = options.programs;
  const runtimes = new Map<string, OciCli>();
  for (const [handler, path] of Object.entries(ociRuntimes)) {
    const root = join(shared.runtimeRoot, handler);
    await mkdir(root, { recursive: true, mode: 0o700 });
    runtimes.set(handler, new OciCli(path, root, cgroupDriver));
  }
  return (events) => new NativeRuntime({ ...options, events }, runtimes, layers);
}

export class NativeRuntime implements PodRuntime {
  readonly name = 'native';
  readonly #context: NativeContext;
  readonly #live = new LiveContainers();
  readonly #exits: ContainerExits;
  readonly #written = new WrittenBytes();
  #execs = 0;
  #clampTold = false;

  /** @param runtimes by handler */
  constructor(options: NativeRuntimeOptions, runtimes: ReadonlyMap<string, OciCli>, layers: LayerMounts) {
    const exits = new ExitWatcher(sharedPlaces(options).exits, (id) => void this.#exits.onExitFile(id));
    const warnOfClamp = (wanted: number): void => this.#warnOfClamp(wanted);
    const runtimeOf: NativeContext['runtimeOf'] = ({ runtimeHandler }) => findRuntime(runtimes, runtimeHandler);
    this.#context = { options, runtimeOf, layers, exits, warnOfClamp };
    this.#exits = new ContainerExits(this.#context, this.#live);
    exits.start();
  }

  /** Stops watching; containers go on. */
  close(): void {
    this.#context.exits.close();
  }

  async runSandbox(
    record: SandboxRecord,
    config: PodSandboxConfig,
    signal: AbortSignal,
  ): Promise<Pick<SandboxStatus, 'ips' | 'runtimeState' | 'timeline'>> {
    const { options, runtimeOf } = this.#context;
    return startPod({ options, runtime: runtimeOf(record), record, config, signal });
  }

  async stopSandbox(record: SandboxRecord): Promise<void> {
    await Promise.all(this.#live.of(record.id).map((container) => this.#exits.kill(container)));
    const { containers } = podPlaces(this.#context.options, record.id);
    for (const id of await readdir(containers).catch(() => [])) {
      this.#live.finish(id);
      await destroyContainer(this.#context, record, id);
    }
    await stopPod(this.#context.options, this.#context.runtimeOf(record), record);
  }

  async removeSandbox(record: SandboxRecord): Promise<void> {
    await this.stopSandbox(record);
    await removePod(this.#context.options, record);
  }

  async sweep(record: SandboxRecord): Promise<void> {
    await this.removeSandbox(record);
  }

  async recover(record: SandboxRecord, containers: readonly ContainerRecord[]): Promise<boolean> {
    const there = await podIsThere(this.#context.options, record);
    if (!there) {
      await this.stopSandbox(record);
      return false;
    }
    for (const container of containers)
      if (container.status.finishedAtNs === '0') await this.#exits.takeUp(this.#add(record, container.id));
    return true;
  }

  async createContainer(
    sandbox: SandboxRecord,
    container: ContainerRecord,
    wish: ContainerWish,
    signal: AbortSignal,
  ): Promise<Pick<ContainerStatusRecord, 'user'>> {
    const made = await createContainer({ context: this.#context, sandbox, container, wish, signal });
    this.#add(sandbox, container.id);
    // It may have died at once, before anybody listened.
    await this.#exits.onExitFile(container.id);
    return made;
  }

  async startContainer(
    sandbox: SandboxRecord,
    container: ContainerRecord,
    signal: AbortSignal,
  ): Promise<{ startedAtNs: bigint }> {
    const { options } = this.#context;
    const runtime = this.#context.runtimeOf(sandbox);
    try {
      await this.#start(sandbox, container.id, signal);
    } catch (caught) {
      // A daemon that died between the start and its record has started it: that is no failure.
      if ((await runtime.status(container.id).catch(() => undefined)) !== 'running')
        throw HuskError.from(caught, 'start');
    }
    return { startedAtNs: options.clock.wallNs() };
  }

  async signalContainer(sandbox: SandboxRecord, container: ContainerRecord, signal: string): Promise<void> {
    await this.#signal(this.#places(sandbox.id, container.id), { id: container.id, stopSignal: signal });
  }

  async stopContainer(sandbox: SandboxRecord, container: ContainerRecord, graceSeconds: number): Promise<void> {
    const live = this.#live.get(container.id);
    if (live === undefined) return;
    if (graceSeconds > 0) {
      const { pidFile } = this.#places(sandbox.id, container.id);
      const { id: containerId, stopSignal } = container;
      await askContainerToEnd({ containerId, pidFile, stopSignal, graceMs: graceSeconds * 1000, ended: live.ended });
    }
    await this.#exits.kill(live);
  }

  async removeContainer(sandbox: SandboxRecord, container: ContainerRecord): Promise<void> {
    this.#live.finish(container.id);
    this.#written.forget(container.id);
    await destroyContainer(this.#context, sandbox, container.id);
  }

  async execSync(
    sandbox: SandboxRecord,
    container: ContainerRecord,
    command: ExecCommand,
    signal: AbortSignal,
  ): Promise<ExecSyncResult> {
    this.#execs += 1;
    const cgroup = { parent: cgroupParentOf(sandbox), sandboxId: sandbox.id };
    const places = this.#places(sandbox.id, container.id);
    const name = `exec-${process.pid}-${this.#execs}`;
    const runtime = this.#context.runtimeOf(sandbox);
    const wish = { ...command, context: this.#context, runtime, containerId: container.id, places, cgroup, name };
    return execSync(wish, signal);
  }

  async streamUrl(sandbox: SandboxRecord, wish: StreamWish, signal: AbortSignal): Promise<string> {
    return await streamUrl({ context: this.#context, sandbox, signal }, wish);
  }

  async reopenLog(sandbox: SandboxRecord, container: ContainerRecord): Promise<void> {
    const pod = podPlaces(this.#context.options, sandbox.id);
    await reopenLog(containerPlaces(pod, container.id), pod, container);
  }

  async stats(sandbox: SandboxRecord, { details }: { readonly details: boolean }): Promise<PodUse> {
    return await podUse({
      ...{ context: this.#context, sandbox, cgroupParent: cgroupParentOf(sandbox), details },
      ...{ containers: this.#live.of(sandbox.id), written: this.#written },
    });
  }

  async updateContainer(
    sandbox: SandboxRecord,
    container: ContainerRecord,
    resources: LinuxContainerResources,
    signal: AbortSignal,
  ): Promise<void> {
    const place = { parent: cgroupParentOf(sandbox), sandboxId: sandbox.id };
    const limit = resources.memoryLimitInBytes;
    const used = (await this.#context.options.cgroups.use(place, container.id)).memory?.usageBytes ?? 0n;
    // The kernel would kill to make a limit true that is below what is used.
    if (limit > 0n && used > limit) {
      throw new HuskError('failed-precondition', `set the memory limit to ${limit}: ${used} bytes are in use`);
    }
    await this.#context.runtimeOf(sandbox).update(container.id, ociResources(resources, false), signal);
  }

  #places(sandboxId: string, containerId: string): ContainerPlaces {
    return containerPlaces(podPlaces(this.#context.options, sandboxId), containerId);
  }

  #add(sandbox: SandboxRecord, id: string): LiveContainer {
    return this.#live.add({ id, sandboxId: sandbox.id, cgroupParent: cgroupParentOf(sandbox) });
  }

  async #start(sandbox: SandboxRecord, containerId: string, signal: AbortSignal): Promise<void> {
    const { options, runtimeOf } = this.#context;
    const runtime = runtimeOf(sandbox);
    const { foreground: streams } = options;
    if (streams === undefined) return await runtime.start(containerId, signal);
    const places = this.#places(sandbox.id, containerId);
    await runInForeground({ runtime, containerId, places, exits: sharedPlaces(options).exits, streams }, signal);
  }

  async #signal(places: ContainerPlaces, container: Pick<ContainerRecord, 'id' | 'stopSignal'>): Promise<void> {
    const pid = await readPidFile(places.pidFile);
    if (pid !== undefined && (await isContainerProcess(pid, container.id)))
      signalProcess(pid, signalNumber(container.stopSignal));
  }

  #warnOfClamp(wanted: number): void {
    const { host, log } = this.#context.options;
    if (this.#clampTold || wanted >= host.leastOomScoreAdj) return;
    this.#clampTold = true;
    log.warn(
      { wanted, least: host.leastOomScoreAdj },
      'oom_score_adj is raised to what the kernel allows without CAP_SYS_RESOURCE; said once',
    );
  }
}

/** A routed pod, of handler `""`, has the same runtime as one of handler `native`. */
function findRuntime(runtimes: ReadonlyMap<string, OciCli>, handler: string): OciCli {
  const runtime = runtimes.get(handler === '' ? 'native' : handler);
  if (runtime !== undefined) return runtime;
  throw new HuskError('failed-precondition', `runtime_handler "${handler}": this node has no such runtime any more`, {
    hint: 'configure it again, at least until its pods are removed',
  });
}

function cgroupParentOf(sandbox: SandboxRecord): string {
  return PodSandboxConfig.decode(Buffer.from(sandbox.configBase64, 'base64')).linux?.cgroupParent ?? '';
}
