/**
 * A PodRuntime whose pods are entries of a map: the rules of the seam without machines, for
 * tests of what stands above it. The `FakeNode` outlives the runtime, as a node outlives a daemon.
 */
import { HuskError } from '../base/errors.ts';
import { CgroupUse, ContainerUse } from '../gen/agent/v1/agent.ts';
import type { ExecCommand, ExecSyncResult, PodRuntime, PodRuntimeEvents, StreamWish } from './pod-runtime.ts';
import type { ContainerRecord, SandboxRecord, SandboxStatus } from './records.ts';
import type { PodUse, UseRequest } from './usage.ts';

type Method = Exclude<keyof PodRuntime, 'name'>;
type Phase = 'created' | 'running' | 'exited';

/** What is on the node: what a census would count. */
export class FakeNode {
  /** Pods that run, with their containers. */
  readonly pods = new Map<string, Map<string, Phase>>();
  /** Pods whose network was not given back. */
  readonly networks = new Set<string>();
  /** Pods with files. */
  readonly folders = new Set<string>();
  /** Every call that came, as `method id`. */
  readonly calls: string[] = [];
  readonly #failures = new Map<Method, HuskError>();
  readonly #gates = new Map<Method, Promise<void>>();

  /** Makes every call of the method fail, after half of its effect, until `mend`. */
  break(method: Method, error: HuskError): void {
    this.#failures.set(method, error);
  }

  mend(method: Method): void {
    this.#failures.delete(method);
  }

  /** Makes calls of the method wait until the returned function is called, or their signal fires. */
  gate(method: Method): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#gates.set(method, promise);
    return () => {
      this.#gates.delete(method);
      resolve();
    };
  }

  /** Nothing is left of any pod. */
  get clean(): boolean {
    return this.pods.size + this.networks.size + this.folders.size === 0;
  }

  async pass(method: Method, id: string, signal?: AbortSignal): Promise<void> {
    this.calls.push(`${method} ${id}`);
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => reject(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      await Promise.race([this.#gates.get(method) ?? Promise.resolve(), promise]);
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
    signal?.throwIfAborted();
    const failure = this.#failures.get(method);
    if (failure !== undefined) throw failure;
  }
}

/** See `FakeNode`. */
export class FakeRuntime implements PodRuntime {
  readonly name: 'vm' | 'native';
  readonly events: PodRuntimeEvents;
  readonly #node: FakeNode;
  #looks = 0n;

  constructor(name: 'vm' | 'native', node: FakeNode, events: PodRuntimeEvents) {
    this.name = name;
    this.#node = node;
    this.events = events;
  }

  async runSandbox(
    record: SandboxRecord,
    _config: unknown,
    signal: AbortSignal,
  ): Promise<Pick<SandboxStatus, 'ips' | 'runtimeState' | 'timeline'>> {
    this.events.saveSandbox(record.id, { runtimeState: { pid: 4711 } });
    this.#node.folders.add(record.id);
    this.#node.networks.add(record.id);
    await this.#node.pass('runSandbox', record.id, signal);
    this.#node.pods.set(record.id, new Map());
    return { ips: ['10.88.0.2', 'fd00::2'], runtimeState: { pid: 4711 }, timeline: [{ step: 'clone', atMs: 1 }] };
  }

  async stopSandbox(record: SandboxRecord): Promise<void> {
    this.#node.pods.delete(record.id);
    await this.#node.pass('stopSandbox', record.id);
    this.#node.networks.delete(record.id);
  }

  async removeSandbox(record: SandboxRecord): Promise<void> {
    await this.#node.pass('removeSandbox', record.id);
    this.#node.folders.delete(record.id);
  }

  async createContainer(
    sandbox: SandboxRecord,
    container: ContainerRecord,
    _wish: unknown,
    signal: AbortSignal,
  ): Promise<{ user: { uid: number; gid: number; supplementalGroups: number[] } }> {
    this.#containers(sandbox).set(container.id, 'created');
    await this.#node.pass('createContainer', container.id, signal);
    return { user: { uid: 0, gid: 0, supplementalGroups: [10] } };
  }

  async startContainer(
    sandbox: SandboxRecord,
    container: ContainerRecord,
    signal: AbortSignal,
  ): Promise<{ startedAtNs: bigint }> {
    await this.#node.pass('startContainer', container.id, signal);
    this.#containers(sandbox).set(container.id, 'running');
    return { startedAtNs: 5n };
  }

  async stopContainer(sandbox: SandboxRecord, container: ContainerRecord, graceSeconds: number): Promise<void> {
    await this.#node.pass('stopContainer', container.id);
    if (this.#node.pods.get(sandbox.id)?.get(container.id) !== 'running') return;
    this.exit(sandbox.id, container.id, graceSeconds > 0 ? 143 : 137);
  }

  async signalContainer(_sandbox: SandboxRecord, container: ContainerRecord, name: string): Promise<void> {
    await this.#node.pass('signalContainer', `${container.id} ${name}`);
  }

  async removeContainer(sandbox: SandboxRecord, container: ContainerRecord): Promise<void> {
    await this.#node.pass('removeContainer', container.id);
    this.#node.pods.get(sandbox.id)?.delete(container.id);
  }

  /** `echo` writes its words, `false` fails, `sleep` lasts until its timeout; nothing else is installed. */
  async execSync(
    _sandbox: SandboxRecord,
    container: ContainerRecord,
    { command, timeoutSeconds }: ExecCommand,
    signal: AbortSignal,
  ): Promise<ExecSyncResult> {
    await this.#node.pass('execSync', container.id, signal);
    const [program, ...words] = command;
    const stderr = Buffer.from(program === 'false' ? 'no' : '');
    if (program === 'sleep' && timeoutSeconds > 0) {
      throw new HuskError('deadline-exceeded', `run "sleep": killed after ${timeoutSeconds} s`);
    }
    if (program !== 'echo' && program !== 'false')
      throw new HuskError('invalid-argument', `run "${program}": not found`);
    return { stdout: Buffer.from(words.join(' ')), stderr, exitCode: program === 'false' ? 1 : 0 };
  }

  async streamUrl(sandbox: SandboxRecord, wish: StreamWish, signal: AbortSignal): Promise<string> {
    await this.#node.pass('streamUrl', sandbox.id, signal);
    return `http://127.0.0.1:1/${wish.route}/token`;
  }

  async reopenLog(_sandbox: SandboxRecord, container: ContainerRecord): Promise<void> {
    await this.#node.pass('reopenLog', container.id);
  }

  /** Pods run only when they are asked, for a millisecond. */
  async stats(record: SandboxRecord, { held }: UseRequest, signal: AbortSignal): Promise<PodUse> {
    const common = { interfaces: [], writableFolder: `/var/lib/husk/pods/${record.id}` };
    const cgroup = (): object => ({ cpu: { usageNs: this.#looks * 1_000_000n }, memory: { usageBytes: 4_096n } });
    if (held !== undefined && this.#looks * 1_000_000n <= held.untilCpuNs)
      return { ...common, pod: CgroupUse.fromPartial(cgroup()), containers: held.containers };
    await this.#node.pass('stats', record.id, signal);
    this.#looks += 1n;
    const live = [...this.#containers(record)].filter(([, phase]) => phase !== 'exited');
    const use = (containerId: string): ContainerUse =>
      ContainerUse.fromPartial({ containerId, cgroup: cgroup() } as object);
    return {
      ...common,
      pod: CgroupUse.fromPartial(cgroup()),
      containers: new Map(live.map(([containerId]) => [containerId, use(containerId)])),
      askedNs: 1_000_000n,
    };
  }

  async updateContainer(
    _sandbox: SandboxRecord,
    container: ContainerRecord,
    _resources: unknown,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#node.pass('updateContainer', container.id, signal);
  }

  async recover(record: SandboxRecord): Promise<boolean> {
    await this.#node.pass('recover', record.id);
    return this.#node.pods.has(record.id);
  }

  async sweep(record: SandboxRecord): Promise<void> {
    await this.#node.pass('sweep', record.id);
    this.#node.pods.delete(record.id);
    this.#node.networks.delete(record.id);
    this.#node.folders.delete(record.id);
  }

  /** A container's process ends. */
  exit(sandboxId: string, containerId: string, exitCode: number, oomKilled = false): void {
    this.#node.pods.get(sandboxId)?.set(containerId, 'exited');
    this.events.onContainerExit(containerId, { exitCode, oomKilled, finishedAtNs: 9n, message: '' });
  }

  /** A pod dies. */
  lose(sandboxId: string, reason: string): void {
    this.#node.pods.delete(sandboxId);
    this.events.onSandboxLost(sandboxId, reason);
  }

  #containers(sandbox: SandboxRecord): Map<string, Phase> {
    const containers = this.#node.pods.get(sandbox.id);
    if (containers === undefined) throw new HuskError('not-found', `find pod "${sandbox.id}": it does not run`);
    return containers;
  }
}
