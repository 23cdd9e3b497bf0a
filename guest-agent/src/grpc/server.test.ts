/** The server against grpc-js, the client that it is made for. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { credentials, type ServiceError, status } from '@grpc/grpc-js';
import { sleep } from '../../../src/base/deadline.ts';
import {
  AgentClient,
  AgentService,
  type Event,
  EventsRequest,
  type ExecMessage,
  type HelloRequest,
} from '../../../src/gen/agent/v1/agent.ts';
import type { Call, Callback } from './call.ts';
import { serveGrpc } from './server.ts';

const maxMessageBytes = 1024 * 1024;
let folder: string;
let server: Server;
let client: AgentClient;
let calls: Call[];
let onExec: (call: Call) => void;
let onEvents: (call: Call) => void;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'husk-grpc-'));
  const path = join(folder, 'sock');
  calls = [];
  onExec = (call) => call.end();
  onEvents = () => {};
  const handlers = {
    hello: (call: Call, callback: Callback) => {
      calls.push(call);
      callback(null, {
        nonce: (call.request as HelloRequest).nonce,
        guestImage: '',
        kernelRelease: '',
        ociRuntimeVersion: '',
        configured: true,
      });
    },
    startContainer: (_call: Call, callback: Callback) =>
      callback({ code: status.NOT_FOUND, details: 'no such "container" 100%\nün' }),
    stopContainer: (call: Call) => calls.push(call),
    exec: (call: Call) => {
      calls.push(call);
      onExec(call);
    },
    events: (call: Call) => {
      calls.push(call);
      onEvents(call);
    },
  };
  server = await serveGrpc({ path, maxMessageBytes }, { definition: AgentService, handlers });
  client = new AgentClient(`unix:${path}`, credentials.createInsecure(), {
    'grpc.default_authority': 'agent',
    'grpc.max_receive_message_length': 8 * maxMessageBytes,
    'grpc.keepalive_time_ms': 1_000,
  });
});

afterEach(async () => {
  client.close();
  const closed = once(server, 'close');
  server.close();
  await closed;
  await rm(folder, { recursive: true });
});

function hello(nonce: Buffer): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  client.hello({ nonce }, (error, answer) => (error === null ? resolve(answer.nonce) : reject(error)));
  return promise;
}

test('unary calls of all sizes, one after the other and side by side, are answered', async () => {
  const sizes = [0, 1, 16_379, 16_384, 65_535, 65_536, 300_000, maxMessageBytes - 100];
  for (const size of sizes) {
    const nonce = Buffer.alloc(size, size % 251);
    assert.ok((await hello(nonce)).equals(nonce), `${size} bytes`);
  }
  const nonces = Array.from({ length: 60 }, (_, index) => Buffer.alloc(index * 5_000, index));
  const answers = await Promise.all(nonces.map(hello));
  for (const [index, answer] of answers.entries()) assert.ok(answer.equals(nonces[index] as Buffer));
});

test('a failure has its code and its text, and so has a method that is not there or a message too large', async () => {
  const failure = (start: (done: (error: ServiceError | null) => void) => unknown): Promise<ServiceError | null> =>
    new Promise((resolve) => start(resolve));
  const missing = await failure((done) => client.startContainer({ containerId: 'a' }, done));
  assert.equal(missing?.code, status.NOT_FOUND);
  assert.equal(missing?.details, 'no such "container" 100%\nün');
  const none = await failure((done) =>
    client.makeUnaryRequest(
      '/husk.agent.v1.Agent/Nothing',
      () => Buffer.alloc(0),
      () => undefined,
      {},
      done,
    ),
  );
  assert.equal(none?.code, status.UNIMPLEMENTED);
  await assert.rejects(hello(Buffer.alloc(maxMessageBytes + 1)), { code: status.RESOURCE_EXHAUSTED });
  assert.equal((await hello(Buffer.alloc(3))).length, 3);
});

test('a stream goes no faster than its reader, and arrives whole', async () => {
  const chunk = Buffer.alloc(100_000, 7);
  const wanted = 100;
  let written = 0;
  onExec = (call) => {
    const more = (): void => {
      while (written < wanted) {
        written += 1;
        if (!call.write({ kind: { $case: 'stdout', value: chunk } })) return void call.once('drain', more);
      }
      call.end();
    };
    more();
  };
  const stream = client.exec({ containerId: 'a', command: ['x'], tty: false, timeoutMs: 0n } as never);
  let bytes = 0;
  stream.on('data', ({ kind }: ExecMessage) => {
    if (kind?.$case === 'stdout') bytes += kind.value.length;
  });
  await once(stream, 'data');
  stream.pause();
  let before = -1;
  while (before !== written) {
    before = written;
    await sleep(200);
  }
  assert.ok(written < wanted, 'everything was written to a reader that does not read');
  stream.resume();
  await once(stream, 'end');
  assert.equal(bytes, wanted * chunk.length);
});

test('messages go both ways at once; a paused call holds its client back', async () => {
  const heard: EventsRequest[] = [];
  onEvents = (call) => {
    call.on('data', (request: EventsRequest) => {
      heard.push(request);
      call.write({
        kind: {
          $case: 'exited',
          value: { containerId: 'c', exitCode: heard.length, oomKilled: false, finishedAtNs: 0n },
        },
      });
    });
    call.on('end', () => call.end());
  };
  const stream = client.events();
  const got: number[] = [];
  stream.on('data', ({ kind }: Event) => {
    if (kind?.$case === 'exited') got.push(kind.value.exitCode);
  });
  const request = EventsRequest.fromPartial({
    kind: { $case: 'exitAck', value: { containerId: 'x'.repeat(50_000) } },
  } as object);
  for (let n = 0; n < 20; n += 1) stream.write(request);
  while (got.length < 20) await once(stream, 'data');
  assert.deepEqual(
    got,
    Array.from({ length: 20 }, (_, index) => index + 1),
  );
  const [call] = calls as [Call];
  call.pause();
  const piled = Array.from({ length: 100 }, () => stream.write(request));
  await sleep(200);
  assert.equal(heard.length, 20);
  assert.ok(piled.includes(false));
  call.resume();
  while (heard.length < 120) await once(stream, 'data');
  stream.end();
  await once(stream, 'end');
});

test('a client that cancels, or goes away, cancels its calls, and nothing else does', async () => {
  let told = 0;
  const unary = client.stopContainer({ containerId: 'a', signal: '', graceMs: 0n }, () => undefined);
  while (calls.length === 0) await sleep(5);
  calls[0]?.on('cancelled', () => (told += 1));
  unary.cancel();
  while (told < 1) await sleep(5);
  onExec = (call) => {
    call.on('cancelled', () => (told += 1));
    call.write({ kind: { $case: 'stdout', value: Buffer.from('x') } });
    call.end();
  };
  const done = client.exec({ containerId: 'a', command: ['x'], tty: false, timeoutMs: 0n } as never);
  done.resume();
  await once(done, 'end');
  onExec = (call) => call.on('cancelled', () => (told += 1));
  const open = client.exec({ containerId: 'a', command: ['x'], tty: false, timeoutMs: 0n } as never);
  open.on('error', () => undefined);
  while (calls.length < 3) await sleep(5);
  assert.equal(told, 1);
  client.close();
  client.getChannel().close();
  open.cancel();
  while (told < 2) await sleep(5);
});

test('an answer before the end of the request closes the call for the client', async () => {
  onEvents = (call) => call.end();
  const stream = client.events();
  stream.resume();
  stream.write(EventsRequest.fromPartial({}));
  const [ended] = (await once(stream, 'status')) as [{ code: number }];
  assert.equal(ended.code, status.OK);
  assert.equal((await hello(Buffer.alloc(1))).length, 1);
});

test('bytes that are no HTTP/2 end their connection and no other', async () => {
  assert.equal((await hello(Buffer.alloc(1))).length, 1);
  for (const bytes of [
    'GET / HTTP/1.1\r\n\r\n',
    `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\x00\x00\x00\x00`,
  ]) {
    const socket = connect(join(folder, 'sock'));
    socket.on('error', () => undefined);
    socket.resume();
    socket.write(Buffer.from(bytes.padEnd(40, '\0'), 'latin1'));
    await once(socket, 'close');
  }
  assert.equal((await hello(Buffer.alloc(1))).length, 1);
});
