/** An AgentHub without guests: keeps containers in memory and tells what a test makes happen. */
import { HuskError } from '../base/errors.ts';
import { type ContainerState, ContainerUse, type HelloResponse } from '../gen/agent/v1/agent.ts';
import type { Agent, AgentEvents, AgentHub, CallOptions, ExecResult } from './agent.ts';

interface FakeContainer {
  state: 'created' | 'running' | 'exited';
  exitCode: number;
  readonly offsets: { stdout: bigint; stderr: bigint };
}

/** One VM of the fake. */
class FakeVm {
  readonly containers = new Map<string, FakeContainer>();
  lost = false;

  container(id: string): FakeContainer {
    const found = this.containers.get(id);
    if (found === undefined)
      throw new HuskError('not-found', `container "${id}": no such container in the guest`, { stage: 'agent' });
    return found;
  }
}

const fakeHello: HelloResponse = {
  nonce: Buffer.alloc(16),
  guestImage: 'fake',
  kernelRelease: 'fake',
  ociRuntimeVersion: 'fake',
  configured: false,
};

/** A hub whose guests do what they are told, at once. */
export class FakeAgentHub implements AgentHub {
  readonly #events: () => AgentEvents;
  readonly #vms = new Map<string, FakeVm>();
  /** What ExecSync gives; a test replaces it. */
  exec: (command: readonly string[]) => ExecResult = (command) => ({
    stdout: Buffer.from(command.join(' ')),
    stderr: Buffer.alloc(0),
    exitCode: 0,
    timedOut: false,
  });

  /** @param events asked for at each event, so that hub and listener can be made in any order */
  constructor(events: () => AgentEvents) {
    this.#events = events;
  }

  async attach(
    vm: Parameters<AgentHub['attach']>[0],
    { signal }: CallOptions,
  ): Promise<{ readonly agent: Agent; readonly hello: HelloResponse }> {
    if (signal?.aborted)
      throw new HuskError('cancelled', `attach VM "${vm.id}": cancelled by the caller`, { stage: 'agent-link' });
    const attached = this.#vms.get(vm.id) ?? new FakeVm();
    attached.lost = false;
    this.#vms.set(vm.id, attached);
    return { agent: this.#agent(vm.id), hello: fakeHello };
  }

  async attachNew(
    ...[vm, options]: Parameters<AgentHub['attachNew']>
  ): Promise<Awaited<ReturnType<AgentHub['attachNew']>>> {
    const { agent } = await this.attach({ ...vm, resume: [] }, options);
    return { agent, configured: await agent.configureSandbox(vm.configure, options) };
  }

  async detach(vmId: string): Promise<void> {
    this.#vms.delete(vmId);
  }

  async close(): Promise<void> {
    this.#vms.clear();
  }

  /** A container writes a line. Settles when it is in the log. */
  async write(vmId: string, containerId: string, line: string): Promise<void> {
    const { offsets } = this.#vm(vmId).container(containerId);
    offsets.stdout += BigInt(Buffer.byteLength(line)) + 1n;
    const lines = Buffer.from(`2020-01-01T00:00:00.000000000Z stdout F ${line}\n`);
    await this.#events().onLog({ vmId, containerId, stream: 'stdout', endOffset: offsets.stdout, lines });
  }

  /** A container ends. Settles when that was noted. */
  async exit(vmId: string, containerId: string, exitCode: number): Promise<void> {
    const container = this.#vm(vmId).container(containerId);
    container.state = 'exited';
    container.exitCode = exitCode;
    await this.#events().onExit({ vmId, containerId, exitCode, oomKilled: false, finishedAtNs: now() });
  }

  /** The guest is gone. */
  loseLink(vmId: string): void {
    this.#vm(vmId).lost = true;
    this.#events().onLinkLost(vmId, 'lost by the test');
  }

  #vm(id: string): FakeVm {
    const vm = this.#vms.get(id);
    if (vm === undefined || vm.lost)
      throw new HuskError('unavailable', `agent of VM "${id}": not attached`, { stage: 'agent' });
    return vm;
  }

  #agent(vmId: string): Agent {
    const vm = (): FakeVm => this.#vm(vmId);
    return {
      hello: async () => (vm(), fakeHello),
      configureSandbox: async () => (vm(), { randomSample: Buffer.alloc(32, 1), steps: [] }),
      createContainer: async ({ containerId }) => {
        vm().containers.set(containerId, { state: 'created', exitCode: 0, offsets: { stdout: 0n, stderr: 0n } });
        return { user: { uid: 0, gid: 0, supplementalGroups: [] }, steps: [] };
      },
      startContainer: async (containerId) => {
        vm().container(containerId).state = 'running';
        return { startedAtNs: now(), steps: [] };
      },
      stopContainer: async ({ containerId }) => {
        if (vm().containers.get(containerId)?.state === 'running') await this.exit(vmId, containerId, 143);
        return undefined;
      },
      removeContainer: async (containerId) => void vm().containers.delete(containerId),
      putVolume: async () => void vm(),
      listContainers: async () =>
        [...vm().containers].map(([containerId, container]) => stateOf(containerId, container)),
      stats: async () =>
        [...vm().containers].map(([containerId]) =>
          ContainerUse.fromPartial({ containerId, cgroup: { memory: { usageBytes: 1_024n } } }),
        ),
      updateContainer: async ({ containerId }) => void vm().container(containerId),
      streamUrl: async ({ $case }) => (vm(), `http://127.0.0.1:1/${$case}/token`),
      execSync: async ({ containerId, command, maxOutputBytes }) => {
        vm().container(containerId);
        const result = this.exec(command);
        return {
          ...result,
          stdout: result.stdout.subarray(0, maxOutputBytes),
          stderr: result.stderr.subarray(0, maxOutputBytes),
        };
      },
    };
  }
}

function stateOf(containerId: string, { state, exitCode }: FakeContainer): ContainerState {
  const exited = state === 'exited' ? { containerId, exitCode, oomKilled: false, finishedAtNs: now() } : undefined;
  return { containerId, state, exited };
}

function now(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}
