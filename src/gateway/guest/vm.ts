/** One VM: its link, its stream of events, and the calls to its agent. */
import { randomBytes } from 'node:crypto';
import { dirname } from 'node:path';
import { type ServiceError, status } from '@grpc/grpc-js';
import type { Clock } from '../../base/clock.ts';
import { sleep, withDeadline } from '../../base/deadline.ts';
import { describeError, HuskError, isKind } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import type {
  ConfigureSandboxRequest,
  ConfigureSandboxResponse,
  ContainerOffsets,
  ExecRequest,
  HelloResponse,
  OutputAck,
} from '../../gen/agent/v1/agent.ts';
import type { ExecSyncResponse, SessionEvent } from '../../gen/gateway/v1/gateway.ts';
import { configureBatch, guestNic, guestPlaces } from '../../guest/identity.ts';
import { decodeAnswer, encodeBatch, requireDone } from '../../guest/sys-batch.ts';
import type { Blame, Blamed } from '../blame.ts';
import { checkConfigureSandbox, checkHello, protocolError } from '../check/answers.ts';
import { cleanText } from '../check/text.ts';
import type { LinkLimits } from '../limits.ts';
import { Budget } from '../link/budget.ts';
import { GuestBatch } from '../link/connector.ts';
import { GuestClient } from '../link/guest-client.ts';
import type { BulkLink, OutputWindows } from '../streams/stream-link.ts';
import { VmStreams } from '../streams/vm-streams.ts';
import type { SharedBytes } from './capture.ts';
import { Containers } from './containers.ts';
import { collectExec } from './exec.ts';
import { GuestEvents } from './guest-events.ts';

const retryMs = 100;
/** A stream of events that lives this long proves that the link is well. */
const healthyMs = 2_000;
/** The guest ends a command at its timeout; when it does not, the gateway does, so much later. */
const execGraceMs = 10_000;

/** What all VMs of a gateway share. */
export interface VmDependencies {
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: LinkLimits;
  readonly blame: Blame;
  readonly windows: OutputWindows;
  /** What the ExecSync calls of all VMs may keep together. */
  readonly execBytes: SharedBytes;
  /** Whether huskd listens. */
  readonly sessionOpen: () => boolean;
  /** The VM may have something for huskd. */
  readonly onNews: (vm: Vm) => void;
}

/** What huskd says of a VM to attach. */
export interface VmTarget {
  readonly id: string;
  readonly socket: string;
  readonly linkKey: string;
  readonly generation: number;
  readonly resume: readonly ContainerOffsets[];
  /** For a VM that has no identity yet. */
  readonly configure?: ConfigureSandboxRequest | undefined;
}

/** A VM that is attached. */
export class Vm implements Blamed {
  readonly id: string;
  readonly containers: Containers;
  readonly #deps: VmDependencies;
  readonly #generation: number;
  readonly #client: GuestClient;
  readonly #identity: Identity | undefined;
  readonly #waste: Budget;
  readonly #messages: Budget;
  readonly #closing = new AbortController();
  readonly #streams: VmStreams;
  #events: GuestEvents | undefined;
  #opening: Promise<HelloResponse> | undefined;
  #wasteSeen = 0;
  #lost: string | undefined;
  #lostSent = false;
  #execs = 0;

  constructor(deps: VmDependencies, vm: VmTarget) {
    const { clock, limits } = deps;
    this.id = vm.id;
    this.#generation = vm.generation;
    this.#deps = deps;
    this.containers = new Containers(vm.id, vm.resume);
    this.#waste = new Budget(clock, limits.wasteBytes, limits.wasteBytesPerSecond);
    this.#messages = new Budget(clock, limits.eventsPerSecond, limits.eventsPerSecond);
    this.#identity = vm.configure && identityBatch(vm.configure);
    this.#client = deps.blame.run(
      this,
      () => new GuestClient(vm.socket, limits, { key: vm.linkKey, batch: this.#identity?.batch }),
    );
    this.#streams = new VmStreams(dirname(vm.socket), deps);
  }

  /** Waits for the agent's first answer, then listens to its events. */
  async open(timeoutMs: number, signal: AbortSignal): Promise<HelloResponse> {
    return await this.#deps.blame.run(this, async () => {
      const hello = await this.hello(timeoutMs, signal);
      this.#listen().catch((caught: unknown) => this.fail(HuskError.from(caught)));
      return hello;
    });
  }

  /**
   * Waits until the guest has run the batch that gives it its identity. The agent's first answer is
   * waited for in the background: when it does not come in time, the link is lost.
   *
   * @throws HuskError `internal` with the system call that failed; `deadline-exceeded`, `unavailable`, `data-loss`
   */
  async openConfigured(timeoutMs: number, signal: AbortSignal): Promise<ConfigureSandboxResponse> {
    const identity = this.#identity;
    if (identity === undefined) throw new HuskError('internal', `configure VM "${this.id}": no identity was given`);
    return await this.#deps.blame.run(this, async () => {
      const opened = this.open(timeoutMs, this.#closing.signal);
      this.#opening = opened.finally(() => (this.#opening = undefined));
      this.#opening.catch(() => undefined);
      const linkFailed = opened.then(
        () => identity.batch.answer,
        (caught: unknown) => {
          this.fail(HuskError.from(caught));
          throw caught;
        },
      );
      const answer = await withDeadline('identity of the guest', timeoutMs, signal, () =>
        Promise.race([identity.batch.answer, linkFailed]),
      );
      return this.#checked(() => checkConfigureSandbox(identity.read(answer)));
    });
  }

  /** The agent's first answer if that is still waited for, else a new one. */
  async answer(timeoutMs: number, signal: AbortSignal): Promise<HelloResponse> {
    const first = this.#opening;
    if (first === undefined) return await this.hello(timeoutMs, signal);
    return await withDeadline('first answer of the agent', timeoutMs, signal, () => first);
  }

  async hello(timeoutMs: number, signal: AbortSignal): Promise<HelloResponse> {
    const nonce = randomBytes(16);
    return await this.call('hello', { nonce }, { timeoutMs, signal, check: (answer) => checkHello(answer, nonce) });
  }

  /** One unary call. An answer that fails its check ends the link. */
  async call<Name extends Parameters<GuestClient['unary']>[0], Checked>(
    name: Name,
    request: Parameters<typeof GuestClient.prototype.unary<Name>>[1],
    options: {
      timeoutMs: number;
      signal: AbortSignal;
      check: (answer: Awaited<ReturnType<typeof GuestClient.prototype.unary<Name>>>) => Checked;
    },
  ): Promise<Checked> {
    return await this.#deps.blame.run(this, async () => {
      this.#assertUsable();
      const signal = AbortSignal.any([options.signal, this.#closing.signal]);
      const answer = await this.#client
        .unary(name, request, options.timeoutMs, signal)
        .catch((caught: unknown) => this.#rethrow(caught));
      return this.#checked(() => options.check(answer));
    });
  }

  /** Runs a command to its end. */
  async exec(request: ExecRequest, maxBytes: number, signal: AbortSignal): Promise<ExecSyncResponse> {
    return await this.#deps.blame.run(this, async () => {
      this.#assertUsable();
      const { limits } = this.#deps;
      if (this.#execs >= limits.execs) {
        throw new HuskError(
          'resource-exhausted',
          `exec: ${this.#execs} commands run in the pod already, at most ${limits.execs} may`,
        );
      }
      this.#execs += 1;
      try {
        const deadlineMs = request.timeoutMs === 0n ? undefined : Number(request.timeoutMs) + execGraceMs;
        return await collectExec({
          call: this.#client.exec(request, deadlineMs),
          maxBytes,
          shared: this.#deps.execBytes,
          messages: this.#messages,
          signal: AbortSignal.any([signal, this.#closing.signal]),
          explain: (caught) => this.#client.explain('agent call "exec"', caught),
        });
      } catch (caught) {
        return this.#rethrow(caught);
      } finally {
        this.#execs -= 1;
      }
    });
  }

  /** The channel for the bytes of exec, attach and port-forward. @throws HuskError `unavailable`, `deadline-exceeded` */
  async bulkLink(): Promise<BulkLink> {
    return await this.#deps.blame.run(this, async () => {
      this.#assertUsable();
      return await this.#streams.link();
    });
  }

  /** The next event for huskd. */
  next(): SessionEvent | undefined {
    const event = this.containers.next();
    if (event !== undefined) {
      // What was taken makes room.
      this.#events?.update();
      return { kind: event, generation: this.#generation };
    }
    if (this.#lost === undefined || this.#lostSent) return undefined;
    this.#lostSent = true;
    return { kind: { $case: 'linkLost', value: { vmId: this.id, reason: this.#lost } }, generation: this.#generation };
  }

  /** huskd's session came or went. */
  sessionChanged(): void {
    this.containers.sendAgain();
    this.#lostSent = false;
    this.#events?.update();
  }

  acknowledge(ack: OutputAck): void {
    if (this.containers.acknowledge(ack)) this.#events?.acknowledge(ack);
  }

  acknowledgeExit(containerId: string): void {
    if (this.containers.get(containerId)?.acknowledgeExit() === true) this.#events?.acknowledgeExit(containerId);
  }

  /** The VM cannot be talked to any more; huskd is told once it listens. */
  fail(error: HuskError): void {
    if (this.#lost !== undefined || this.#closing.signal.aborted) return;
    this.#lost = cleanText(describeError(error));
    this.#deps.log.warn({ vm: this.id, reason: this.#lost }, 'link lost');
    this.close();
    this.#deps.onNews(this);
  }

  /** To be called each second: the link ends when more came that carries nothing than an honest guest sends. */
  checkWaste(): void {
    const now = this.#client.wastedBytes;
    const fresh = Math.max(0, now - this.#wasteSeen);
    this.#wasteSeen = Math.max(this.#wasteSeen, now);
    if (!this.#waste.spend(fresh)) this.fail(protocolError(`${fresh} bytes in a second that carry nothing`));
  }

  /** Ends the link. */
  close(): void {
    this.#closing.abort(
      new HuskError('unavailable', `agent of VM "${this.id.slice(0, 12)}": ${this.#lost ?? 'detached'}`),
    );
    this.#events?.close();
    this.#streams.close();
    this.#client.close();
  }

  /** One stream of events after the other, until the link is given up or closed. */
  async #listen(): Promise<void> {
    const { clock, limits, onNews, sessionOpen } = this.#deps;
    let wellAtMs = clock.monotonicMs();
    while (!this.#closing.signal.aborted) {
      await this.#client.ready(Math.max(retryMs, wellAtMs + limits.reconnectMs - clock.monotonicMs()));
      if (this.#closing.signal.aborted) return;
      const startedAtMs = clock.monotonicMs();
      this.#events = new GuestEvents({
        call: this.#client.events(),
        containers: this.containers,
        clock,
        limits,
        waste: this.#waste,
        messages: this.#messages,
        wanted: sessionOpen,
        onNews: () => onNews(this),
      });
      const reason = await this.#events.ended;
      if (isProtocolError(reason)) throw reason;
      if (this.#client.fault !== undefined) throw this.#client.fault;
      if (reason !== undefined && (reason as ServiceError).code === status.RESOURCE_EXHAUSTED) {
        throw protocolError('an event larger than any honest one');
      }
      const endedAtMs = clock.monotonicMs();
      if (endedAtMs - startedAtMs >= healthyMs) wellAtMs = endedAtMs;
      else if (endedAtMs - wellAtMs > limits.reconnectMs)
        throw this.#client.explain('events of the agent', reason ?? null);
      if (!this.#closing.signal.aborted) await sleep(retryMs);
    }
  }

  #assertUsable(): void {
    if (this.#closing.signal.aborted) this.#rethrow(undefined);
  }

  /** Of a call that the end of the link cut short, the reason is the link's. */
  #rethrow(caught: unknown): never {
    if (isProtocolError(caught)) this.fail(caught);
    const { signal } = this.#closing;
    throw HuskError.from(signal.aborted ? signal.reason : caught, 'agent');
  }

  #checked<T>(check: () => T): T {
    try {
      return check();
    } catch (caught) {
      const error = HuskError.from(caught);
      this.fail(error);
      throw error;
    }
  }
}

interface Identity {
  readonly batch: GuestBatch;
  /** @throws HuskError `internal` with the operation that failed, `data-loss` for bytes that are no answer */
  readonly read: (answer: Buffer) => ConfigureSandboxResponse;
}

/** @throws HuskError `invalid-argument` with the field's name */
function identityBatch(request: ConfigureSandboxRequest): Identity {
  const ops = configureBatch(request, guestPlaces, guestNic);
  return {
    batch: new GuestBatch(encodeBatch(ops)),
    read: (answer) => {
      if (answer.length === 0) throw new HuskError('internal', 'identity of the guest: it could not run the batch');
      return { randomSample: requireDone(ops, decodeAnswer(answer)).at(-1)?.bytes ?? Buffer.alloc(0), steps: [] };
    },
  };
}

function isProtocolError(caught: unknown): caught is HuskError {
  return isKind(caught, 'data-loss') && (caught as HuskError).stage === 'agent-protocol';
}
