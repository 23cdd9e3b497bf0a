/** What clients may try: each is answered or cut off, and nobody else notices. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, test } from 'node:test';
import { constants, createDeflate } from 'node:zlib';
import { WebSocket } from 'ws';
import { systemClock } from '../base/clock.ts';
import { sleep, withDeadline } from '../base/deadline.ts';
import { silentLog } from '../base/log.ts';
import { fakeStreamingRuntime } from './fake-runtime.ts';
import { type StreamingServer, startStreamingServer } from './server.ts';
import { spdyClient } from './spdy/client-fixture.ts';
import { spdyDictionary } from './spdy/dictionary.ts';
import { encodeControl } from './spdy/frames.ts';
import { HeaderWriter } from './spdy/header-block.ts';

const waitMs = 60_000;
const mib = 1024 * 1024;
let server: StreamingServer;
let sockets: Socket[];

beforeEach(async () => {
  sockets = [];
  server = await start();
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await server.close();
});

const start = (fields: object = {}): Promise<StreamingServer> =>
  startStreamingServer({
    ...{ runtime: fakeStreamingRuntime, address: '127.0.0.1', port: 0, clock: systemClock, log: silentLog },
    ...fields,
  });

const execUrl = (command: string[], fields: object = {}): string =>
  server.url({
    route: 'exec',
    target: {
      sandboxId: 'p',
      containerId: 'c',
      command,
      tty: false,
      stdin: false,
      stdout: true,
      stderr: false,
      ...fields,
    },
  });

async function upgrade(url: string, protocol = 'v4.channel.k8s.io'): Promise<Socket> {
  const headers = { Connection: 'Upgrade', Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': protocol };
  const call = request(url, { method: 'POST', headers });
  call.end();
  const [, socket, head] = (await once(call, 'upgrade')) as [unknown, Socket, Buffer];
  if (head.length > 0) socket.unshift(head);
  socket.on('error', () => undefined);
  sockets.push(socket);
  return socket;
}

const closed = async (socket: Socket): Promise<void> => {
  if (socket.closed) return;
  socket.resume();
  await withDeadline('the server to close', waitMs, undefined, () => once(socket, 'close'));
};

/** Opens streams on a connection and reads nothing, not even the answers. */
async function openUnread(socket: Socket, types: readonly string[]): Promise<void> {
  socket.pause();
  const writer = new HeaderWriter();
  for (const [index, type] of types.entries()) {
    const block = await writer.write(new Map([['streamtype', type]]));
    const rest = { associatedId: 0, fin: false, unidirectional: false };
    socket.write(encodeControl({ type: 'syn-stream', streamId: 2 * index + 1, ...rest, block }));
  }
  writer.close();
}

/** A session that is there before, and must work after. */
async function bystander(during: () => Promise<void>): Promise<void> {
  const socket = await upgrade(execUrl(['cat'], { stdin: true }));
  const client = spdyClient(socket);
  const open = async (streamtype: string) => client.open({ streamtype });
  const [, stdin, stdout] = [await open('error'), await open('stdin'), await open('stdout')];
  stdin?.send('before ');
  await during();
  stdin?.send('after', true);
  await client.closed;
  assert.equal(Buffer.concat(stdout?.received ?? []).toString(), 'before after');
}

async function deflated(bytes: number): Promise<Buffer> {
  const deflate = createDeflate({ dictionary: spdyDictionary });
  const parts: Buffer[] = [];
  deflate.on('data', (part: Buffer) => parts.push(part));
  deflate.write(Buffer.alloc(bytes));
  await new Promise<void>((resolve) => deflate.flush(constants.Z_SYNC_FLUSH, () => resolve()));
  deflate.destroy();
  return Buffer.concat(parts);
}

const synStream = (block: Buffer): Buffer =>
  encodeControl({ type: 'syn-stream', streamId: 1, associatedId: 0, fin: false, unidirectional: false, block });

const count = (headers: number): Buffer => {
  const deflate = Buffer.alloc(4);
  deflate.writeUInt32BE(headers);
  return deflate;
};

test('SPDY bombs close their connection alone', async () => {
  await bystander(async () => {
    for (const bytes of [
      synStream(await deflated(48 * mib)),
      synStream(Buffer.alloc(60_000, 0xff)),
      synStream(count(1_000_000)),
      Buffer.from('8003000400ffffff', 'hex'),
      Buffer.from('8002000100000000', 'hex'),
    ]) {
      const socket = await upgrade(execUrl(['cat']));
      socket.write(bytes);
      await closed(socket);
    }
  });
});

test('a flood of settings, and of pings whose answers nobody reads, is held off by TCP', async () => {
  await bystander(async () => {
    const socket = await upgrade(execUrl(['flood']));
    await openUnread(socket, ['error', 'stdout']);
    const settings = Buffer.concat(
      Array.from({ length: 2_000 }, () => Buffer.from('80030004000000040000000000', 'hex').subarray(0, 12)),
    );
    for (let round = 0; round < 50; round += 1) socket.write(settings);
    const pings = Buffer.concat(Array.from({ length: 2_000 }, () => encodeControl({ type: 'ping', id: 1 })));
    const before = process.memoryUsage().rss;
    for (let round = 0; round < 200 && socket.writableLength < 8 * mib; round += 1) socket.write(pings);
    await sleep(500);
    assert.ok(process.memoryUsage().rss - before < 64 * mib);
    socket.destroy();
  });
});

test('WebSocket fragments without end, and pings whose answers nobody reads', async () => {
  await bystander(async () => {
    const socket = new WebSocket(execUrl(['cat'], { stdin: true }).replace('http', 'ws'), 'v4.channel.k8s.io');
    await once(socket, 'open');
    const part = Buffer.alloc(32 * 1024);
    const over = once(socket, 'close');
    for (let sent = 0; sent < 64; sent += 1) socket.send(part, { fin: false });
    const [code] = await withDeadline('the server to close', waitMs, undefined, () => over);
    assert.equal(code, 1009);
    const pinger = new WebSocket(execUrl(['flood']).replace('http', 'ws'), 'v4.channel.k8s.io');
    await once(pinger, 'open');
    pinger.pause();
    const before = process.memoryUsage().rss;
    for (let sent = 0; sent < 50_000; sent += 1) pinger.ping(part.subarray(0, 100));
    await sleep(500);
    assert.ok(process.memoryUsage().rss - before < 64 * mib);
    pinger.terminate();
  });
});

test('a hundred thousand resizes after the exit', async () => {
  await bystander(async () => {
    const socket = await upgrade(execUrl(['exit', '0'], { tty: true }));
    const client = spdyClient(socket);
    const error = await client.open({ streamtype: 'error' });
    await client.open({ streamtype: 'stdout' });
    const resize = await client.open({ streamtype: 'resize' });
    await error.ended;
    const sizes = Buffer.from('{"Width":80,"Height":24}'.repeat(1_000));
    for (let round = 0; round < 100; round += 1) resize.send(sizes);
    await closed(socket);
  });
});

test('200 clients that never read cost little, and leave nothing', { timeout: 120_000 }, async () => {
  const handles = (): number => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;
  await bystander(async () => {
    const [before, rss] = [handles(), process.memoryUsage().rss];
    const stuck = await Promise.all(
      Array.from({ length: 200 }, async () => {
        const socket = await upgrade(execUrl(['flood']));
        await openUnread(socket, ['error', 'stdout']);
        return socket;
      }),
    );
    await sleep(1_000);
    const grown = process.memoryUsage().rss - rss;
    // The clients live in this process too: the gateway's own growth is measured in test/integration.
    assert.ok(grown < 128 * mib, `${(grown / mib).toFixed(0)} MiB more`);
    for (const socket of stuck) socket.destroy();
    await withDeadline('the server to notice', waitMs, undefined, async (signal) => {
      while (handles() > before) await sleep(50, signal);
    });
  });
});

test('connections that say nothing, or half a request, are closed', async () => {
  const impatient = await start({ headersMs: 500 });
  const { port } = new URL(impatient.address);
  await bystander(async () => {
    const silent = Array.from({ length: 50 }, (_, index) => {
      const socket = connect(Number(port), '127.0.0.1');
      socket.on('error', () => undefined);
      sockets.push(socket);
      if (index % 2 === 1) socket.write('POST /exec/abc HTTP/1.1\r\nHost: x\r\nConnec');
      return closed(socket);
    });
    await Promise.all(silent);
  });
  await impatient.close();
});

test('wrong methods, paths, hosts and tokens: refused, never redirected', async () => {
  const url = new URL(execUrl(['cat']));
  for (const [method, path] of [
    ['GET', '/'],
    ['PUT', '/exec/abc'],
    ['POST', '/exec/../attach/abc'],
    ['GET', `/attach${url.pathname.slice(5)}`],
    ['OPTIONS', '*'],
    ['GET', '//evil.example/exec/abc'],
  ] as const) {
    const call = request({ host: '127.0.0.1', port: url.port, method, path, headers: { Host: 'evil.example' } });
    call.end();
    const [answer] = await once(call, 'response');
    answer.resume();
    assert.ok(answer.statusCode === 400 || answer.statusCode === 404, `${method} ${path}: ${answer.statusCode}`);
    assert.equal(answer.headers.location, undefined);
  }
});

test('the thousand and first ticket is refused', () => {
  for (let index = 0; index < 1000; index += 1) execUrl(['cat']);
  assert.throws(() => execUrl(['cat']), { kind: 'resource-exhausted' });
});

test('rounds of 20 streams leave no handle', { timeout: 120_000 }, async () => {
  const rounds = Number(process.env['HUSK_STREAM_ROUNDS'] ?? '25');
  const handles = (): number => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;
  const before = handles();
  for (let round = 0; round < rounds; round += 1) {
    const socket = await upgrade(server.url({ route: 'portforward', sandboxId: 'p' }), 'portforward.k8s.io');
    const client = spdyClient(socket);
    const streams = [];
    for (let requestid = 0; requestid < 10; requestid += 1) {
      const headers = { port: '80', requestid: String(requestid) };
      await client.open({ ...headers, streamtype: 'error' }, true);
      streams.push(await client.open({ ...headers, streamtype: 'data' }));
    }
    for (const stream of streams) stream.send('x', true);
    for (const stream of streams) assert.equal(await stream.ended, 'fin');
    socket.destroy();
  }
  await withDeadline('handles back to baseline', waitMs, undefined, async (signal) => {
    while (handles() > before) await sleep(20, signal);
  });
});
