/** A client of a guest's agent, over the same link as the gateway's. Made for tests of the agent itself. */
import assert from 'node:assert/strict';
import { type ClientDuplexStream, Metadata } from '@grpc/grpc-js';
import { defaultLinkLimits } from '../../src/gateway/limits.ts';
import { LinkCredentials } from '../../src/gateway/link/connector.ts';
import {
  AgentClient,
  AgentService,
  type ContainerExited,
  type ContainerOffsets,
  type Event,
  type EventsRequest,
  type ExecResult,
  Stream,
} from '../../src/gen/agent/v1/agent.ts';

const bootMs = 120_000;
const callMs = 60_000;

type Unary =
  | 'hello'
  | 'configureSandbox'
  | 'createContainer'
  | 'startContainer'
  | 'stopContainer'
  | 'removeContainer'
  | 'listContainers';
type RequestOf<Name extends Unary> = Parameters<(typeof AgentService)[Name]['requestSerialize']>[0];
type ResponseOf<Name extends Unary> = ReturnType<(typeof AgentService)[Name]['responseDeserialize']>;

/** What an exec gave. */
export interface ExecOutcome {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly result: ExecResult;
}

/** One connection to a guest's agent. */
export class AgentLink {
  readonly client: AgentClient;
  readonly #credentials = new LinkCredentials(defaultLinkLimits, { key: 'feedfacecafebeef' });
  /** Milliseconds of each call, by its name. */
  readonly timings: Map<string, number[]> = new Map();

  /** @param socket path of QEMU's agent channel */
  constructor(socket: string) {
    this.client = new AgentClient(`unix:${socket}`, this.#credentials, {
      'grpc.default_authority': 'agent',
      'grpc.initial_reconnect_backoff_ms': 50,
      'grpc.max_reconnect_backoff_ms': 200,
      'grpc.use_local_subchannel_pool': 1,
    });
  }

  /** Waits until the agent can be called. */
  ready(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.client.waitForReady(Date.now() + bootMs, (error) => (error === undefined ? resolve() : reject(error)));
    return promise;
  }

  /** One unary call. */
  async call<Name extends Unary>(name: Name, request: RequestOf<Name>): Promise<ResponseOf<Name>> {
    const started = performance.now();
    const { promise, resolve, reject } = Promise.withResolvers<ResponseOf<Name>>();
    const { path, requestSerialize, responseDeserialize } = AgentService[name];
    this.client.makeUnaryRequest(
      path,
      requestSerialize as (value: RequestOf<Name>) => Buffer,
      responseDeserialize as (value: Buffer) => ResponseOf<Name>,
      request,
      new Metadata(),
      { deadline: Date.now() + callMs },
      (error, response) => {
        if (error === null && response !== undefined) resolve(response);
        else reject(error ?? new Error('no response'));
      },
    );
    try {
      return await promise;
    } finally {
      this.#note(name, performance.now() - started);
    }
  }

  /** Runs a command and keeps its output. */
  async exec(containerId: string, command: string[], timeoutMs = 0): Promise<ExecOutcome> {
    const started = performance.now();
    const call = this.client.exec({ containerId, command, tty: false, timeoutMs: BigInt(timeoutMs) });
    const output: { stdout: Buffer[]; stderr: Buffer[] } = { stdout: [], stderr: [] };
    let result: ExecResult | undefined;
    for await (const message of call) {
      const { kind } = message as {
        kind: { $case: 'stdout' | 'stderr'; value: Buffer } | { $case: 'result'; value: ExecResult };
      };
      if (kind.$case === 'result') result = kind.value;
      else output[kind.$case].push(kind.value);
    }
    this.#note('exec', performance.now() - started);
    assert.ok(result !== undefined, 'an exec ends with its result');
    return { stdout: Buffer.concat(output.stdout), stderr: Buffer.concat(output.stderr), result };
  }

  close(): void {
    this.client.close();
    this.#credentials.close();
  }

  #note(name: string, ms: number): void {
    const known = this.timings.get(name);
    if (known === undefined) this.timings.set(name, [ms]);
    else known.push(ms);
  }
}

/** What arrived of one container, over any number of event streams. */
export interface Received {
  readonly stdout: Buffer[];
  readonly stderr: Buffer[];
  stdoutOffset: bigint;
  stderrOffset: bigint;
  stdoutEnd: boolean;
  stderrEnd: boolean;
  exited: ContainerExited | undefined;
  /** How often the exit was told. */
  exits: number;
}

/** Takes events as the gateway does: stores, then acknowledges. Fails on gaps, repeats and bytes after the end. */
export class EventLog {
  readonly #received = new Map<string, Received>();
  #call: ClientDuplexStream<EventsRequest, Event> | undefined;
  #waiting: (() => void)[] = [];
  #failure: unknown;
  /** False: takes, but acknowledges nothing. */
  acknowledging = true;

  /** Listens on a link from where the last stream was left. */
  listen(link: AgentLink): void {
    const call = link.client.events();
    this.#call = call;
    const containers: ContainerOffsets[] = [...this.#received].map(([containerId, { stdoutOffset, stderrOffset }]) => {
      return { containerId, stdoutOffset, stderrOffset };
    });
    call.on('error', () => undefined);
    call.on('data', (event: Event) => {
      if (this.#call !== call) return;
      try {
        this.#take(call, event);
      } catch (caught) {
        this.#failure = caught;
      }
      for (const wake of this.#waiting.splice(0)) wake();
    });
    call.write({ kind: { $case: 'resume', value: { containers } } });
  }

  /** Breaks the stream off, as a gateway that dies does. */
  cut(): void {
    this.#call?.cancel();
    this.#call = undefined;
  }

  of(containerId: string): Received {
    const known = this.#received.get(containerId);
    if (known !== undefined) return known;
    const fresh: Received = {
      ...{ stdout: [], stderr: [], stdoutOffset: 0n, stderrOffset: 0n },
      ...{ stdoutEnd: false, stderrEnd: false, exited: undefined, exits: 0 },
    };
    this.#received.set(containerId, fresh);
    return fresh;
  }

  /** Waits until it holds, looking after each event. */
  async until(holds: () => boolean): Promise<void> {
    const limit = AbortSignal.timeout(120_000);
    while (!holds()) {
      if (this.#failure !== undefined) throw new Error('the link failed', { cause: this.#failure });
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const late = (): void => reject(new Error('the events waited for did not come'));
      limit.addEventListener('abort', late, { once: true });
      this.#waiting.push(resolve);
      await promise;
      limit.removeEventListener('abort', late);
    }
    if (this.#failure !== undefined) throw new Error('the link failed', { cause: this.#failure });
  }

  async exit(containerId: string): Promise<ContainerExited> {
    await this.until(() => this.of(containerId).exited !== undefined);
    return this.of(containerId).exited as ContainerExited;
  }

  #take(call: ClientDuplexStream<EventsRequest, Event>, { kind }: Event): void {
    if (kind?.$case === 'exited') {
      const received = this.of(kind.value.containerId);
      assert.ok(received.stdoutEnd && received.stderrEnd, 'the exit comes after the end of both outputs');
      received.exited = kind.value;
      received.exits += 1;
      if (this.acknowledging)
        call.write({ kind: { $case: 'exitAck', value: { containerId: kind.value.containerId } } });
      return;
    }
    assert.ok(kind?.$case === 'output');
    const { containerId, stream, offset, data, end } = kind.value;
    const received = this.of(containerId);
    const name = stream === Stream.STREAM_STDOUT ? 'stdout' : 'stderr';
    assert.ok(data.length <= 64 * 1024, 'a chunk is at most 64 KiB');
    assert.equal(offset, received[`${name}Offset`], `${name} goes on where it was left`);
    assert.ok(data.length === 0 || !received[`${name}End`], `${name} has ended`);
    received[name].push(data);
    received[`${name}Offset`] = offset + BigInt(data.length);
    received[`${name}End`] = end;
    if (this.acknowledging && data.length > 0) {
      call.write({
        kind: { $case: 'outputAck', value: { containerId, stream, offset: offset + BigInt(data.length) } },
      });
    }
  }
}
