/** All agents, through the gateway process: supervises it, keeps one session with it, attaches VMs anew when it was replaced. */
import { randomInt } from 'node:crypto';
import { credentials } from '@grpc/grpc-js';
import { sleep, withDeadline } from '../base/deadline.ts';
import { describeError, HuskError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { span } from '../base/trace.ts';
import type { ConfigureSandboxRequest } from '../gen/agent/v1/agent.ts';
import {
  type AttachVmResponse,
  type DetachVmResponse,
  GatewayClient,
  type SessionEvent,
  type SessionRequest,
  type StreamUrlRequest,
} from '../gen/gateway/v1/gateway.ts';
import type { Agent, AgentEvents, AgentHub, CallOptions } from './agent.ts';
import { AttachedVm } from './attached-vm.ts';
import { callGateway, gatewayAgent, streamUrl, waiting } from './gateway-agent.ts';
import { GatewayProcess, type GatewayProcessOptions } from './gateway-process.ts';

const attachGraceMs = 1_000;
const detachMs = 5_000;
const streamUrlMs = 30_000;
/** A VM that an earlier gateway held must answer a new one within this. */
const reattachMs = 30_000;
const firstBackoffMs = 50;
const longestBackoffMs = 5_000;
/** Two streams of 16 MiB and what goes around them. */
const maxAnswerBytes = 34 * 1024 * 1024;

export interface GatewayHubOptions extends GatewayProcessOptions {
  /** Whom the guests' events go to. A promise: they wait until it is there. */
  readonly events: AgentEvents | Promise<AgentEvents>;
}

/** An AgentHub that can also end the process it goes through. */
export interface GatewayHub extends AgentHub {
  /** The pid of the gateway, if it lives. */
  gatewayPid(): Promise<number | undefined>;
  /** The URL of a stream that the gateway serves. @throws HuskError `resource-exhausted`, `unavailable` */
  readonly streamUrl: (request: StreamUrlRequest, signal: AbortSignal) => Promise<string>;
  /** Closes, and ends the gateway process too: all links end. `close` leaves it running for the next huskd. */
  shutdown(): Promise<void>;
}

/**
 * Finds or starts the gateway.
 * @throws HuskError `unavailable` when it does not come up
 */
export async function createGatewayHub(options: GatewayHubOptions): Promise<GatewayHub> {
  const gateway = new GatewayProcess(options);
  const { instance } = await gateway.ensure();
  return new Hub(gateway, instance, options);
}

class Hub implements GatewayHub {
  readonly #gateway: GatewayProcess;
  readonly #client: GatewayClient;
  readonly #log: Log;
  readonly #vms = new Map<string, AttachedVm>();
  readonly #closing = new AbortController();
  readonly #supervision: Promise<void>;
  #instance: string;
  #send: (request: SessionRequest) => void = () => {};
  #endSession: () => void = () => {};

  constructor(gateway: GatewayProcess, instance: string, { events, log }: GatewayHubOptions) {
    this.#gateway = gateway;
    this.#instance = instance;
    this.#log = log;
    this.#client = new GatewayClient(`unix:${gateway.socket}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': maxAnswerBytes,
      'grpc.max_send_message_length': -1,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.initial_reconnect_backoff_ms': 20,
      'grpc.max_reconnect_backoff_ms': 500,
      'grpc.keepalive_time_ms': 10_000,
      'grpc.keepalive_timeout_ms': 20_000,
      'grpc.enable_retries': 0,
      'grpc.enable_channelz': 0,
      'grpc.enable_http_proxy': 0,
      'grpc.service_config_disable_resolution': 1,
    });
    this.#supervision = this.#supervise(events);
  }

  async attach(...[given, options]: Parameters<AgentHub['attach']>): ReturnType<AgentHub['attach']> {
    const { agent, answer } = await this.#open(given, options, undefined);
    if (answer.hello === undefined)
      throw new HuskError('internal', `attach VM "${given.id}": the gateway answered without a Hello`);
    return { agent, hello: answer.hello };
  }

  async attachNew(...[given, options]: Parameters<AgentHub['attachNew']>): ReturnType<AgentHub['attachNew']> {
    const { agent, answer } = await this.#open({ ...given, resume: [] }, options, given.configure);
    if (answer.configured === undefined)
      throw new HuskError('internal', `attach VM "${given.id}": the gateway answered without the guest's word`);
    return { agent, configured: answer.configured };
  }

  async #open(
    given: Parameters<AgentHub['attach']>[0],
    { timeoutMs, signal }: CallOptions,
    configure: ConfigureSandboxRequest | undefined,
  ): Promise<{ agent: Agent; answer: AttachVmResponse }> {
    const before = this.#vms.get(given.id);
    const vm = new AttachedVm(given, this.#log);
    this.#vms.set(vm.id, vm);
    try {
      return await withDeadline('attach to the agent', timeoutMs + attachGraceMs, signal, async (stop) => {
        if (before !== undefined) {
          before.close();
          await before.quiet();
          vm.advance(
            before
              .resume()
              .filter(({ containerId }) => given.resume.some((wanted) => wanted.containerId === containerId)),
          );
        }
        const answer = await span('agent attach', () => this.#attach(vm, { timeoutMs, signal: stop }, configure));
        vm.attached = true;
        const agent = gatewayAgent(
          this.#client,
          vm.id,
          () => vm.ready,
          (containerId) => vm.forget(containerId),
        );
        return { agent, answer };
      });
    } catch (caught) {
      if (this.#vms.get(vm.id) === vm) await this.detach(vm.id).catch(() => undefined);
      throw HuskError.from(caught, 'agent-link');
    }
  }

  async detach(vmId: string): Promise<void> {
    this.#vms.get(vmId)?.close();
    this.#vms.delete(vmId);
    await withDeadline('detach from the agent', detachMs, undefined, (stop) =>
      callGateway<DetachVmResponse>((done) => this.#client.detachVm({ vmId }, waiting(), done), stop),
    );
  }

  readonly streamUrl: GatewayHub['streamUrl'] = (request, signal) =>
    streamUrl(this.#client, request, () => Promise.resolve(), { timeoutMs: streamUrlMs, signal });

  gatewayPid(): Promise<number | undefined> {
    return this.#gateway.pid();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#endSession();
    for (const vm of this.#vms.values()) vm.close();
    await this.#supervision;
    this.#client.close();
  }

  async shutdown(): Promise<void> {
    await this.close();
    await this.#gateway.stop();
  }

  async #attach(
    vm: AttachedVm,
    { timeoutMs, signal }: CallOptions,
    configure?: ConfigureSandboxRequest,
  ): Promise<AttachVmResponse> {
    vm.generation = randomInt(1, 2 ** 32);
    const request = {
      vmId: vm.id,
      socket: vm.agentSocket,
      linkKey: vm.linkKey,
      timeoutMs: BigInt(Math.ceil(timeoutMs)),
      resume: vm.resume(),
      generation: vm.generation,
      configure,
    };
    return await callGateway<AttachVmResponse>((done) => this.#client.attachVm(request, waiting(), done), signal);
  }

  /** One session after the other, with a gateway that is replaced when it does not answer. */
  async #supervise(events: AgentEvents | Promise<AgentEvents>): Promise<void> {
    const { signal } = this.#closing;
    let listener: AgentEvents | undefined;
    const stopped = new Promise<undefined>((resolve) =>
      signal.addEventListener('abort', () => resolve(undefined), { once: true }),
    );
    listener = await Promise.race([events, stopped]);
    let backoff = firstBackoffMs;
    while (!signal.aborted && listener !== undefined) {
      const startedAtMs = performance.now();
      await this.#session(listener);
      if (signal.aborted) return;
      const away = this.#holdCalls();
      backoff =
        performance.now() - startedAtMs > longestBackoffMs ? firstBackoffMs : Math.min(2 * backoff, longestBackoffMs);
      try {
        const { instance } = await this.#gateway.ensure(signal);
        if (instance !== this.#instance) {
          this.#log.warn({ vms: this.#vms.size }, 'the gateway was replaced; VMs are attached anew');
          this.#instance = instance;
          for (const vm of this.#vms.values()) if (vm.attached && !vm.lost) this.#attachAnew(vm, listener);
        }
      } catch (caught) {
        if (!signal.aborted) this.#log.error({ error: describeError(caught) }, 'no gateway');
      } finally {
        away.resolve();
      }
      await sleep(backoff, signal).catch(() => undefined);
    }
  }

  /** Settles when the session is over. */
  async #session(events: AgentEvents): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const call = this.#client.session(waiting());
    this.#endSession = () => call.cancel();
    this.#send = (request) => {
      if (call.writable) call.write(request);
    };
    if (this.#closing.signal.aborted) call.cancel();
    call.on('data', (event: SessionEvent) => this.#receive(event, events));
    call.on('error', (error) => {
      if (!this.#closing.signal.aborted) this.#log.warn({ error: error.message }, 'session with the gateway lost');
      resolve();
    });
    call.on('end', resolve);
    await promise;
    this.#send = () => {};
  }

  #receive({ kind, generation }: SessionEvent, events: AgentEvents): void {
    if (kind === undefined) return;
    const vm = this.#vms.get(kind.value.vmId);
    if (vm === undefined || vm.generation !== generation) return;
    const acknowledge = (request: SessionRequest): void => this.#send(request);
    if (kind.$case === 'log') vm.onLog(kind.value, events, acknowledge);
    else if (kind.$case === 'exited') vm.onExit(kind.value, events, acknowledge);
    else this.#lost(vm, kind.value.reason, events);
  }

  #lost(vm: AttachedVm, reason: string, events: AgentEvents): void {
    if (vm.lost) return;
    vm.lost = true;
    events.onLinkLost(vm.id, reason);
  }

  /** Calls wait while it is not known whether the gateway still holds their VM. */
  #holdCalls(): PromiseWithResolvers<void> {
    const away = Promise.withResolvers<void>();
    for (const vm of this.#vms.values()) {
      const { ready } = vm;
      vm.ready = away.promise.then(() => (vm.ready === held ? ready : vm.ready));
      const held = vm.ready;
      held.catch(() => undefined);
    }
    return away;
  }

  #attachAnew(vm: AttachedVm, events: AgentEvents): void {
    const attaching = vm
      .quiet()
      .then(() =>
        withDeadline('attach anew', reattachMs + attachGraceMs, this.#closing.signal, (signal) =>
          this.#attach(vm, { timeoutMs: reattachMs, signal }),
        ),
      )
      .then(() => undefined);
    vm.ready = attaching;
    attaching.catch((caught: unknown) => {
      if (this.#closing.signal.aborted || this.#vms.get(vm.id) !== vm || vm.ready !== attaching) return;
      this.#lost(vm, describeError(caught), events);
    });
  }
}
