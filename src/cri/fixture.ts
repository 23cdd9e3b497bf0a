/** A whole CRI server over fakes on a real socket, and a client of it. For the tests of this folder. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ChannelCredentials, type ClientReadableStream, Metadata, type ServiceError } from '@grpc/grpc-js';
import { HuskError } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { MemoryRecords } from '../base/memory-records.ts';
import { ContainerConfig, ImageServiceClient, PodSandboxConfig, RuntimeServiceClient } from '../gen/cri/v1/api.ts';
import type { FinishedCall } from '../metrics/call.ts';
import { PodTraces } from '../metrics/pod-traces.ts';
import { PodEngine } from '../pod/engine/pod-engine.ts';
import type { PodRuntimes } from '../pod/engine/runtimes.ts';
import { FakeNode, FakeRuntime } from '../pod/fake-runtime.ts';
import { allowAllNative } from '../pod/native-policy.ts';
import { parseContainerRecord, parseSandboxRecord } from '../pod/parse-records.ts';
import type { PodRuntimeEvents } from '../pod/pod-runtime.ts';
import type { PodPolicy } from '../pod/policy.ts';
import type { RuntimeInfo } from './context.ts';
import { FakeImages } from './fake-images.ts';
import { type CriServer, createCriServer } from './server.ts';

export interface Fixture {
  readonly node: FakeNode;
  readonly vm: FakeRuntime;
  readonly images: FakeImages;
  readonly engine: PodEngine;
  readonly server: CriServer;
  readonly socket: string;
  readonly network: { ready: boolean; cidrs: string[] };
  /** What observers were told, in order. */
  readonly finished: readonly FinishedCall[];
  /** Calls an RPC of either service by the name of the generated client. */
  call<Request, Response>(rpc: string, request: Request, options?: CallOptions): Promise<Response>;
  /** Calls an RPC that answers with a stream. */
  stream<Response>(rpc: string, request: object): ClientReadableStream<Response>;
  /** A new daemon over the same records and the same node. */
  restart(): PodEngine;
  [Symbol.asyncDispose](): Promise<void>;
}

interface CallOptions {
  readonly signal?: AbortSignal;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface FixtureOptions {
  readonly policy?: Partial<PodPolicy>;
  readonly native?: boolean;
}

/** Starts it. */
export async function startFixture(options: FixtureOptions = {}): Promise<Fixture> {
  const folder = await mkdtemp(join(tmpdir(), 'husk-cri-'));
  const socket = join(folder, 'husk.sock');
  const node = new FakeNode();
  const images = new FakeImages();
  const network = { ready: true, cidrs: new Array<string>() };
  const native = options.native === true ? allowAllNative : { refusal: 'the fixture has none' };
  const policy = { accelerator: 'tcg', allowEmulation: true, native, nativeHandlers: [], ...options.policy } as const;
  const made: FakeRuntime[] = [];
  const newEngine = engineMaker({ node, images, policy, native: options.native === true, made });
  const engine = newEngine();
  const [podTraces, finished] = [new PodTraces(), new Array<FinishedCall>()];
  const server = createCriServer({
    engine,
    images,
    network: {
      status: async () => ({ ready: network.ready, reason: network.ready ? '' : 'NoConfig', message: 'no CNI config' }),
      setPodCidr: async (cidr) => void network.cidrs.push(cidr),
    },
    info: fakeInfo(policy),
    log: silentLog,
    clock: fakeClock,
    observers: [podTraces.observe, (call) => void finished.push(call)],
    podTraces,
  });
  await server.listen(socket);
  const clients = connect(socket);
  const [vm] = made;
  if (vm === undefined) throw new HuskError('internal', 'the engine made no runtime');
  const dispose = async (): Promise<void> => {
    clients.close();
    await server.close();
    await rm(folder, { recursive: true });
  };
  const { call, stream } = clients;
  return {
    node,
    vm,
    images,
    engine,
    server,
    socket,
    network,
    finished,
    call,
    stream,
    restart: newEngine,
    [Symbol.asyncDispose]: dispose,
  };
}

const fakeClock = { wallNs: () => 1_700_000_000_000_000_000n, monotonicMs: () => performance.now() };

function fakeInfo(policy: PodPolicy): RuntimeInfo {
  return {
    version: '0.1.0',
    cgroupDriver: 'cgroupfs',
    accelerator: policy.accelerator,
    acceleratorReason: 'the probe did not boot',
    hypervisorVersion: '7.2.22',
    allowEmulation: policy.allowEmulation,
    handlers: [{ name: 'vm', recursiveReadOnlyMounts: false, userNamespaces: false }],
  };
}

/** Engines over the same records and the same node, as daemons that follow one another have. */
function engineMaker(world: {
  readonly node: FakeNode;
  readonly images: FakeImages;
  readonly policy: PodPolicy;
  readonly native: boolean;
  readonly made: FakeRuntime[];
}): () => PodEngine {
  const sandboxes = new MemoryRecords(parseSandboxRecord);
  const containers = new MemoryRecords(parseContainerRecord);
  const { node, images, policy } = world;
  const runtimes = (events: PodRuntimeEvents): PodRuntimes => {
    const vm = new FakeRuntime('vm', node, events);
    world.made.push(vm);
    return world.native ? { vm, native: new FakeRuntime('native', node, events) } : { vm };
  };
  return () => new PodEngine({ sandboxes, containers, images, policy, clock: fakeClock, log: silentLog, runtimes });
}

function connect(socket: string): Pick<Fixture, 'call' | 'stream'> & { close(): void } {
  const options = { 'grpc.max_receive_message_length': 64 * 1024 * 1024 };
  const runtime = new RuntimeServiceClient(`unix:${socket}`, ChannelCredentials.createInsecure(), options);
  const image = new ImageServiceClient(`unix:${socket}`, ChannelCredentials.createInsecure(), options);
  return {
    async call<Request, Response>(rpc: string, request: Request, { signal, headers = {} }: CallOptions = {}) {
      const metadata = new Metadata();
      for (const [key, value] of Object.entries(headers)) metadata.set(key, value);
      const client = rpc in runtime ? runtime : image;
      const method: unknown = Reflect.get(client, rpc);
      if (typeof method !== 'function') throw new HuskError('internal', `the client has no "${rpc}"`);
      const { promise, resolve, reject } = Promise.withResolvers<Response>();
      const done = (error: ServiceError | null, response: Response): void =>
        error === null ? resolve(response) : reject(error);
      const call: unknown = method.call(client, request, metadata, { deadline: Date.now() + 20_000 }, done);
      const cancel = (): unknown => Reflect.get(call as object, 'cancel').call(call);
      signal?.addEventListener('abort', cancel, { once: true });
      return await promise;
    },
    stream(rpc, request) {
      const client = rpc in runtime ? runtime : image;
      return Reflect.get(client, rpc).call(client, request);
    },
    close() {
      runtime.close();
      image.close();
    },
  };
}

/** A pod's config that passes, with changes. */
export function podConfig(change: Partial<PodSandboxConfig> = {}): PodSandboxConfig {
  return {
    ...PodSandboxConfig.create({
      metadata: { name: 'web-0', namespace: 'default', uid: '7a1f', attempt: 0 },
      hostname: 'web-0',
      logDirectory: '/var/log/pods/default_web-0_7a1f',
      labels: { app: 'web' },
      annotations: { note: 'two\nlines' },
    }),
    ...change,
  };
}

/** A container's config that passes, with changes. */
export function containerConfig(change: Partial<ContainerConfig> = {}): ContainerConfig {
  return {
    ...ContainerConfig.create({
      metadata: { name: 'app', attempt: 0 },
      image: { image: 'busybox:1' },
      command: ['sleep', '1d'],
      logPath: 'app/0.log',
      labels: { tier: 'front' },
    }),
    ...change,
  };
}
