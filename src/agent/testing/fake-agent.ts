/** An agent for tests without a VM: keeps output until it is acknowledged, sends it again on a new stream, runs nothing. */
import { Server, ServerCredentials, type ServerDuplexStream, type ServerWritableStream, status } from '@grpc/grpc-js';
import {
  type AgentServer,
  AgentService,
  type ContainerExited,
  ContainerUse,
  type Event,
  type EventsRequest,
  type ExecMessage,
  type ExecRequest,
  Stream,
} from '../../gen/agent/v1/agent.ts';

type EventsCall = ServerDuplexStream<EventsRequest, Event>;
const chunkBytes = 64 * 1024;
const wire = { stdout: Stream.STREAM_STDOUT, stderr: Stream.STREAM_STDERR } as const;

interface Output {
  start: bigint;
  held: Buffer;
  ended: boolean;
}
interface Container {
  readonly stdout: Output;
  readonly stderr: Output;
  state: 'created' | 'running' | 'exited';
  exited: ContainerExited | undefined;
  exitAcked: boolean;
}

/** What a test replaces to make the agent lie or run something. */
export interface AgentScript {
  readonly exec?: (call: ServerWritableStream<ExecRequest, ExecMessage>) => void;
  readonly events?: (call: EventsCall) => void;
  readonly replace?: Partial<AgentServer>;
}

/** Serves proto/agent/v1 on a UNIX socket. */
export class FakeAgent {
  readonly containers = new Map<string, Container>();
  readonly #server = new Server();
  readonly #script: AgentScript;
  #call: EventsCall | undefined;
  #sent = new Map<Output, { to: bigint; end: boolean }>();
  #exitsSent = new Set<Container>();

  private constructor(script: AgentScript) {
    this.#script = script;
  }

  static async listen(path: string, script: AgentScript = {}): Promise<FakeAgent> {
    const agent = new FakeAgent(script);
    agent.#server.addService(AgentService, Object.assign(agent.#handlers(), script.replace));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    agent.#server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    );
    await promise;
    return agent;
  }

  close(): void {
    this.#server.forceShutdown();
  }

  /** Bytes that no acknowledgement has released. */
  get heldBytes(): number {
    let sum = 0;
    for (const { stdout, stderr } of this.containers.values()) sum += stdout.held.length + stderr.held.length;
    return sum;
  }

  /** The container writes. */
  write(id: string, stream: 'stdout' | 'stderr', data: Uint8Array): void {
    const output = this.#container(id)[stream];
    output.held = Buffer.concat([output.held, data]);
    this.#pump();
  }

  /** The container ends: its streams, then itself. */
  exit(id: string, exitCode: number): void {
    const container = this.#container(id);
    container.stdout.ended = true;
    container.stderr.ended = true;
    container.state = 'exited';
    container.exited = { containerId: id, exitCode, oomKilled: false, finishedAtNs: BigInt(Date.now()) * 1_000_000n };
    this.#pump();
  }

  #container(id: string): Container {
    const known = this.containers.get(id);
    if (known === undefined)
      throw Object.assign(new Error(`container "${id}": no such container`), { code: status.NOT_FOUND });
    return known;
  }

  #use(): ContainerUse[] {
    return [...this.containers.keys()].map((containerId) =>
      ContainerUse.fromPartial({ containerId, cgroup: { memory: { usageBytes: 1_024n } } }),
    );
  }

  #handlers(): AgentServer {
    return {
      hello: (call, done) => {
        const { nonce } = call.request;
        done(null, { nonce, guestImage: 'fake', kernelRelease: 'fake', ociRuntimeVersion: 'fake', configured: false });
      },
      streamExec: (_call, done) => done({ code: status.UNIMPLEMENTED, details: 'no streams here' }),
      streamAttach: (_call, done) => done({ code: status.UNIMPLEMENTED, details: 'no streams here' }),
      configureSandbox: (_call, done) => done(null, { randomSample: Buffer.alloc(32, 7), steps: [] }),
      createContainer: (call, done) => {
        const output = (): Output => ({ start: 0n, held: Buffer.alloc(0), ended: false });
        const container = {
          stdout: output(),
          stderr: output(),
          state: 'created',
          exited: undefined,
          exitAcked: false,
        } as const;
        this.containers.set(call.request.containerId, { ...container });
        done(null, { user: { uid: 0, gid: 0, supplementalGroups: [] }, steps: [] });
      },
      startContainer: (call, done) => {
        const container = this.containers.get(call.request.containerId);
        if (container === undefined) return done({ code: status.NOT_FOUND, details: 'start: no such container' });
        container.state = 'running';
        return done(null, { startedAtNs: BigInt(Date.now()) * 1_000_000n, steps: [] });
      },
      stopContainer: (call, done) => {
        if (this.containers.get(call.request.containerId)?.state === 'running')
          this.exit(call.request.containerId, 143);
        done(null, { steps: [] });
      },
      removeContainer: (call, done) => {
        this.containers.delete(call.request.containerId);
        done(null, { steps: [] });
      },
      putVolume: (_call, done) => done(null, {}),
      listContainers: (_call, done) =>
        done(null, {
          containers: [...this.containers].map(([containerId, { state, exited }]) => ({ containerId, state, exited })),
        }),
      stats: (_call, done) => done(null, { containers: this.#use() }),
      updateContainer: (_call, done) => done(null, {}),
      exec: (call) => {
        if (this.#script.exec !== undefined) return this.#script.exec(call);
        call.write({ kind: { $case: 'stdout', value: Buffer.from(call.request.command.join(' ')) } });
        call.write({ kind: { $case: 'result', value: { exitCode: 0, timedOut: false } } });
        call.end();
      },
      events: (call) => (this.#script.events ?? ((given: EventsCall) => this.#events(given)))(call),
    };
  }

  #events(call: EventsCall): void {
    this.#call?.end();
    this.#call = undefined;
    call.on('error', () => undefined);
    call.on('cancelled', () => {
      if (this.#call === call) this.#call = undefined;
    });
    call.on('end', () => call.end());
    call.on('data', ({ kind }: EventsRequest) => {
      if (kind?.$case === 'resume') {
        this.#call = call;
        this.#sent = new Map();
        this.#exitsSent = new Set();
        for (const { containerId, stdoutOffset, stderrOffset } of kind.value.containers) {
          this.#release(containerId, 'stdout', stdoutOffset);
          this.#release(containerId, 'stderr', stderrOffset);
        }
      } else if (kind?.$case === 'outputAck') {
        const { containerId, stream, offset } = kind.value;
        this.#release(containerId, stream === Stream.STREAM_STDOUT ? 'stdout' : 'stderr', offset);
      } else if (kind?.$case === 'exitAck') {
        const container = this.containers.get(kind.value.containerId);
        if (container !== undefined) container.exitAcked = true;
      }
      this.#pump();
    });
    call.on('drain', () => this.#pump());
  }

  #release(id: string, stream: 'stdout' | 'stderr', offset: bigint): void {
    const output = this.containers.get(id)?.[stream];
    if (output === undefined || offset <= output.start) return;
    output.held = output.held.subarray(Number(offset - output.start));
    output.start = offset;
  }

  #pump(): void {
    for (const [id, container] of this.containers) {
      for (const name of ['stdout', 'stderr'] as const) {
        if (!this.#sendOutput(id, name, container[name])) return;
      }
      const { exited, exitAcked } = container;
      const ended = this.#sent.get(container.stdout)?.end === true && this.#sent.get(container.stderr)?.end === true;
      if (!ended || exited === undefined || exitAcked || this.#exitsSent.has(container)) continue;
      this.#exitsSent.add(container);
      this.#call?.write({ kind: { $case: 'exited', value: exited } });
    }
  }

  /** False: the link takes no more for now. */
  #sendOutput(containerId: string, name: 'stdout' | 'stderr', output: Output): boolean {
    const call = this.#call;
    if (call === undefined) return false;
    for (;;) {
      const cursor = this.#sent.get(output) ?? { to: output.start, end: false };
      const offset = cursor.to < output.start ? output.start : cursor.to;
      const from = Number(offset - output.start);
      const data = output.held.subarray(from, from + chunkBytes);
      const end = output.ended && from + data.length === output.held.length;
      if (data.length === 0 && (!end || cursor.end)) return true;
      this.#sent.set(output, { to: offset + BigInt(data.length), end });
      if (!call.write({ kind: { $case: 'output', value: { containerId, stream: wire[name], offset, data, end } } }))
        return false;
    }
  }
}
