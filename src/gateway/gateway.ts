/** All VMs of a gateway and the one session with huskd. */
import { randomBytes } from 'node:crypto';
import { HuskError } from '../base/errors.ts';
import type { ConfigureSandboxRequest, ConfigureSandboxResponse, HelloResponse } from '../gen/agent/v1/agent.ts';
import type { SessionEvent, SessionRequest } from '../gen/gateway/v1/gateway.ts';
import { SharedBytes } from './guest/capture.ts';
import { Vm, type VmDependencies, type VmTarget } from './guest/vm.ts';

const wasteCheckMs = 1_000;

/** Where the events of a session go. */
export interface SessionSink {
  /** False: wait for `flush` before the next one. */
  write(event: SessionEvent): boolean;
  /** Another session takes over. */
  replaced(): void;
}

/** VMs by id, and what they have to tell, one event of each VM in turn. */
export class Gateway {
  /** Another one means that no VM is attached. */
  readonly instance: string = randomBytes(16).toString('hex');
  readonly #deps: VmDependencies;
  readonly #vms = new Map<string, Vm>();
  readonly #withNews = new Set<Vm>();
  #session: SessionSink | undefined;
  #full = false;
  /** One for all VMs: a hundred timers would wake this process a hundred times a second. */
  #meter: NodeJS.Timeout | undefined;

  constructor(deps: Omit<VmDependencies, 'execBytes' | 'sessionOpen' | 'onNews' | 'windows'>) {
    this.#deps = {
      ...deps,
      windows: { streams: 0 },
      execBytes: new SharedBytes(deps.limits.execBytes),
      sessionOpen: () => this.#session !== undefined,
      onNews: (vm) => {
        this.#withNews.add(vm);
        this.flush();
      },
    };
  }

  /** Opens a link; one to the same VM from before is closed. */
  async attach(vm: VmTarget, timeoutMs: number, signal: AbortSignal): Promise<HelloResponse> {
    return await this.#open(vm, (link) => link.open(timeoutMs, signal));
  }

  async #open<T>(vm: VmTarget, wait: (link: Vm) => Promise<T>): Promise<T> {
    this.detach(vm.id);
    const link = new Vm(this.#deps, vm);
    this.#vms.set(vm.id, link);
    this.#meter ??= setInterval(() => this.#checkWaste(), wasteCheckMs);
    try {
      return await wait(link);
    } catch (caught) {
      if (this.#vms.get(vm.id) === link) this.detach(vm.id);
      throw caught;
    }
  }

  /** Opens a link and gives the guest its identity; the agent itself answers later. */
  async attachNew(
    vm: Omit<VmTarget, 'resume'> & { readonly configure: ConfigureSandboxRequest },
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<ConfigureSandboxResponse> {
    return await this.#open({ ...vm, resume: [] }, (link) => link.openConfigured(timeoutMs, signal));
  }

  detach(id: string): void {
    const vm = this.#vms.get(id);
    if (vm === undefined) return;
    this.#vms.delete(id);
    this.#withNews.delete(vm);
    vm.close();
    if (this.#vms.size > 0) return;
    clearInterval(this.#meter);
    this.#meter = undefined;
  }

  /** @throws HuskError `unavailable`: a gateway that was just started has no VM yet */
  vm(id: string): Vm {
    const vm = this.#vms.get(id);
    if (vm === undefined) throw new HuskError('unavailable', `VM "${id.slice(0, 64)}": not attached to the gateway`);
    return vm;
  }

  /** The session that gets all events from now on. */
  openSession(session: SessionSink): void {
    const before = this.#session;
    this.#session = session;
    before?.replaced();
    this.#sessionChanged();
  }

  /** The session is over; unless another one has taken its place, guests wait now. */
  closeSession(session: SessionSink): void {
    if (this.#session !== session) return;
    this.#session = undefined;
    this.#sessionChanged();
  }

  /** What huskd says in its session. Acknowledgements of VMs that are gone mean nothing. */
  receive({ kind }: SessionRequest): void {
    if (kind?.$case === 'logAck' && kind.value.ack !== undefined) {
      const vm = this.#vms.get(kind.value.vmId);
      vm?.acknowledge(kind.value.ack);
      if (vm !== undefined) this.#withNews.add(vm);
    } else if (kind?.$case === 'exitAck') {
      this.#vms.get(kind.value.vmId)?.acknowledgeExit(kind.value.containerId);
    }
    this.flush();
  }

  /** Sends what waits, for as long as the session takes it. `drained`: it takes more again. */
  flush(drained = false): void {
    if (drained) this.#full = false;
    while (this.#session !== undefined && !this.#full) {
      const [vm] = this.#withNews;
      if (vm === undefined) return;
      // Back to the end of the row, so that a chatty VM does not starve the others.
      this.#withNews.delete(vm);
      const event = this.#deps.blame.run(vm, () => nextOf(vm));
      if (event === undefined) continue;
      this.#withNews.add(vm);
      this.#full = !this.#session.write(event);
    }
  }

  close(): void {
    for (const id of [...this.#vms.keys()]) this.detach(id);
  }

  #checkWaste(): void {
    for (const vm of this.#vms.values()) this.#deps.blame.run(vm, () => vm.checkWaste());
  }

  #sessionChanged(): void {
    this.#full = false;
    for (const vm of this.#vms.values()) {
      vm.sessionChanged();
      this.#withNews.add(vm);
    }
    this.flush();
  }
}

/** A VM whose state is broken must not take the session of all others with it. */
function nextOf(vm: Vm): SessionEvent | undefined {
  try {
    return vm.next();
  } catch (caught) {
    vm.fail(HuskError.from(caught));
    return vm.next();
  }
}

export type { Vm } from './guest/vm.ts';
