import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, test } from 'node:test';
import { createWebSocketStream, WebSocket } from 'ws';
import { systemClock } from '../base/clock.ts';
import { silentLog } from '../base/log.ts';
import { fakeStreamingRuntime } from './fake-runtime.ts';
import { type StreamingServer, startStreamingServer } from './server.ts';
import { type SpdyClient, spdyClient } from './spdy/client-fixture.ts';

let server: StreamingServer;
const open: Socket[] = [];

beforeEach(async () => {
  server = await startStreamingServer({
    runtime: fakeStreamingRuntime,
    address: '127.0.0.1',
    port: 0,
    clock: systemClock,
    log: silentLog,
  });
});
afterEach(async () => {
  for (const socket of open.splice(0)) socket.destroy();
  await server.close();
});

const target = (command: string[], fields: object = {}) => ({
  sandboxId: 'p',
  containerId: 'c',
  command,
  tty: false,
  stdin: false,
  stdout: true,
  stderr: true,
  ...fields,
});
const execUrl = (command: string[], fields: object = {}) =>
  server.url({ route: 'exec', target: target(command, fields) });

interface Answer {
  readonly code: number;
  readonly headers: Record<string, unknown>;
  readonly client?: SpdyClient;
}

/** Sends an upgrade request as client-go does. */
async function upgrade(url: string, headers: Record<string, string | string[]>): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const call = request(url, { method: 'POST', headers: { Connection: 'Upgrade', ...headers } });
  call.on('upgrade', (response, socket, head) => {
    open.push(socket);
    if (head.length > 0) socket.unshift(head);
    resolve({ code: response.statusCode ?? 0, headers: response.headers, client: spdyClient(socket) });
  });
  call.on('response', (response) => {
    response.resume();
    resolve({ code: response.statusCode ?? 0, headers: response.headers });
  });
  call.on('error', reject);
  call.end();
  return promise;
}

const spdy = (versions: string): Record<string, string> => ({
  Upgrade: 'SPDY/3.1',
  'X-Stream-Protocol-Version': versions,
});

async function run(url: string, versions: string, names: string[], input?: Buffer) {
  const { code, headers, client } = await upgrade(url, spdy(versions));
  assert.equal(code, 101);
  const streams = new Map<string, Awaited<ReturnType<SpdyClient['open']>>>();
  for (const streamtype of names) {
    const stream = await (client as SpdyClient).open({ streamtype });
    await stream.replied;
    streams.set(streamtype, stream);
  }
  if (input !== undefined) streams.get('stdin')?.send(input, true);
  await client?.closed;
  const text = (name: string): Buffer => Buffer.concat(streams.get(name)?.received ?? []);
  return { protocol: headers['x-stream-protocol-version'], text };
}

test('exec over SPDY: output, error stream, exit code', async () => {
  const { protocol, text } = await run(execUrl(['exit', '3', 'oh', 'no']), 'v5.channel.k8s.io,v4.channel.k8s.io', [
    'error',
    'stdout',
    'stderr',
  ]);
  assert.equal(protocol, 'v5.channel.k8s.io');
  assert.equal(text('stderr').toString(), 'oh no');
  assert.equal(JSON.parse(text('error').toString()).details.causes[0].message, '3');
});

for (const version of ['v4', 'v3', 'v2', '']) {
  const name = `${version === '' ? '' : `${version}.`}channel.k8s.io`;
  test(`exec with ${name}: 8 MiB through cat come back whole`, async () => {
    const input = randomBytes(8 * 1024 * 1024);
    const { text } = await run(
      execUrl(['cat'], { stdin: true, stderr: false }),
      name,
      ['error', 'stdin', 'stdout'],
      input,
    );
    const sha = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
    assert.equal(sha(text('stdout')), sha(input));
    assert.equal(text('error').toString(), version === 'v4' ? '{"metadata":{},"status":"Success"}' : '');
  });
}

test('an error of the runtime is told as such', async () => {
  const { text } = await run(execUrl(['missing']), 'v4.channel.k8s.io', ['error', 'stdout', 'stderr']);
  assert.match(JSON.parse(text('error').toString()).message, /exec "missing": no such program/);
});

test('a terminal’s size reaches the process', async () => {
  const { client } = await upgrade(execUrl(['size'], { tty: true, stderr: false }), spdy('v4.channel.k8s.io'));
  await client?.open({ streamtype: 'error' });
  const stdout = await client?.open({ streamtype: 'stdout' });
  const resize = await client?.open({ streamtype: 'resize' });
  resize?.send('{"Width":132,"Height":43}');
  await client?.closed;
  assert.equal(Buffer.concat(stdout?.received ?? []).toString(), '132x43');
});

test('attach joins', async () => {
  const url = server.url({ route: 'attach', target: target([], { stderr: false }) });
  const { text } = await run(url, 'v4.channel.k8s.io', ['error', 'stdout']);
  assert.equal(text('stdout').toString(), 'attached');
});

test('a token is good once; then, and for unknown ones, 404', async () => {
  const url = execUrl(['exit', '0']);
  assert.equal((await upgrade(url, spdy('v4.channel.k8s.io'))).code, 101);
  assert.equal((await upgrade(url, spdy('v4.channel.k8s.io'))).code, 404);
  assert.equal((await upgrade(url.replace(/[^/]*$/, 'x'.repeat(32)), spdy('v4.channel.k8s.io'))).code, 404);
  assert.equal(
    (await upgrade(execUrl(['exit', '0']).replace('/exec/', '/attach/'), spdy('v4.channel.k8s.io'))).code,
    404,
  );
});

test('missing headers are a 400, unknown protocols a 403 that names the known ones', async () => {
  assert.equal((await upgrade(execUrl(['exit', '0']), { Upgrade: 'SPDY/3.1' })).code, 400);
  assert.equal((await upgrade(execUrl(['exit', '0']), { Upgrade: 'h2c' })).code, 400);
  const { code, headers } = await upgrade(execUrl(['exit', '0']), spdy('v9.channel.k8s.io'));
  assert.equal(code, 403);
  assert.match(String(headers['x-accepted-stream-protocol-versions']), /v5\.channel\.k8s\.io/);
});

test('a plain request is a 400 or 404, never a redirect', async () => {
  const url = execUrl(['exit', '0']);
  assert.equal((await fetch(url, { redirect: 'manual' })).status, 400);
  assert.equal((await fetch(new URL('/other', url), { redirect: 'manual' })).status, 404);
});

test('port-forward: bytes both ways, and an error text for a closed port', async () => {
  const { client } = await upgrade(server.url({ route: 'portforward', sandboxId: 'p' }), spdy('portforward.k8s.io'));
  const headers = (port: string, requestid: string, streamtype: string) => ({ streamtype, port, requestid });
  const error = await client?.open(headers('80', '0', 'error'), true);
  const data = await client?.open(headers('80', '0', 'data'));
  data?.send('ping', true);
  assert.equal(await data?.ended, 'fin');
  assert.equal(Buffer.concat(data?.received ?? []).toString(), 'ping');
  assert.equal(await error?.ended, 'fin');
  const refused = await client?.open(headers('81', '1', 'error'), true);
  const dead = await client?.open(headers('81', '1', 'data'));
  assert.equal(await refused?.ended, 'fin');
  assert.match(
    Buffer.concat(refused?.received ?? []).toString(),
    /error forwarding port 81 to pod p, uid : connect to port 81: refused/,
  );
  assert.equal(await dead?.ended, 'reset');
});

function webSocket(url: string, protocol: string): WebSocket {
  const socket = new WebSocket(url.replace('http:', 'ws:'), protocol);
  socket.on('error', () => undefined);
  return socket;
}

test('exec over WebSocket v5: channels, half-close, status', async () => {
  const socket = webSocket(execUrl(['cat'], { stdin: true, stderr: false }), 'v5.channel.k8s.io');
  const got: Buffer[] = [];
  socket.on('message', (data: Buffer) => got.push(data));
  await once(socket, 'open');
  socket.send(Buffer.concat([Buffer.from([0]), Buffer.from('hello')]));
  socket.send(Buffer.from([255, 0]));
  const [code] = await once(socket, 'close');
  assert.equal(code, 1000);
  const channel = (number: number) =>
    Buffer.concat(got.filter((each) => each[0] === number).map((each) => each.subarray(1))).toString();
  assert.equal(channel(1), 'hello');
  assert.equal(JSON.parse(channel(3)).status, 'Success');
  assert.ok(got.every((each) => each[0] !== 255));
});

test('exec over base64 WebSocket', async () => {
  const socket = webSocket(execUrl(['exit', '4', 'bad']), 'v4.base64.channel.k8s.io');
  const got: string[] = [];
  socket.on('message', (data: Buffer) => got.push(data.toString()));
  await once(socket, 'close');
  const channel = (number: string) =>
    got
      .filter((each) => each.startsWith(number))
      .map((each) => Buffer.from(each.slice(1), 'base64').toString())
      .join('');
  assert.equal(channel('2'), 'bad');
  assert.equal(JSON.parse(channel('3')).details.causes[0].message, '4');
});

test('text on a binary protocol, and an unknown channel, close the connection', async () => {
  for (const [message, expected] of [
    ['text', 1003],
    [Buffer.from([9, 1]), 1002],
  ] as const) {
    const socket = webSocket(execUrl(['cat'], { stdin: true }), 'v4.channel.k8s.io');
    await once(socket, 'open');
    socket.send(message);
    const [code] = await once(socket, 'close');
    assert.equal(code, expected);
  }
});

test('a message beyond the cap closes the connection', async () => {
  const socket = webSocket(execUrl(['cat'], { stdin: true }), 'v4.channel.k8s.io');
  await once(socket, 'open');
  socket.send(Buffer.alloc(2 * 1024 * 1024));
  const [code] = await once(socket, 'close');
  assert.equal(code, 1009);
});

test('port-forward through the WebSocket tunnel', async () => {
  const { promise, resolve } = Promise.withResolvers<SpdyClient>();
  const url = new URL(server.url({ route: 'portforward', sandboxId: 'p' }));
  const call = request(url, {
    headers: {
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
      'Sec-WebSocket-Protocol': 'SPDY/3.1+portforward.k8s.io',
    },
  });
  call.on('upgrade', (response, socket, head) => {
    assert.equal(response.headers['sec-websocket-protocol'], 'SPDY/3.1+portforward.k8s.io');
    open.push(socket);
    const tunnel: WebSocket = Reflect.construct(WebSocket, [null, undefined, { autoPong: true }]);
    // The client's half of ws (it masks), on a connection that was upgraded by hand: ws refuses the protocol's name.
    Reflect.set(tunnel, '_isServer', false);
    Reflect.get(tunnel, 'setSocket').call(tunnel, socket, head, {
      maxPayload: 0,
      skipUTF8Validation: true,
      allowSynchronousEvents: true,
    });
    resolve(spdyClient(createWebSocketStream(tunnel)));
  });
  call.end();
  const client = await promise;
  await client.open({ streamtype: 'error', port: '80', requestid: '0' }, true);
  const data = await client.open({ streamtype: 'data', port: '80', requestid: '0' });
  data.send('through', true);
  await data.ended;
  assert.equal(Buffer.concat(data.received).toString(), 'through');
});
