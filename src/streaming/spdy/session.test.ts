import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, test } from 'node:test';
import { type SpdyClient, spdyClient } from './client-fixture.ts';
import { encodeControl } from './frames.ts';
import { SpdySession } from './session.ts';
import type { SpdyStream } from './stream.ts';

let server: Server;
let socket: Socket;
let session: SpdySession;
let client: SpdyClient;
let onStream: (stream: SpdyStream) => boolean;

beforeEach(async () => {
  onStream = () => true;
  server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  socket = connect((address as { port: number }).port, '127.0.0.1');
  const [connection] = (await once(server, 'connection')) as [Socket];
  session = new SpdySession({ connection, maxStreams: 4, onStream: (stream) => onStream(stream) });
  client = spdyClient(socket);
});
afterEach(async () => {
  socket.destroy();
  await session.closed.catch(() => undefined);
  assert.equal(session.openStreams, 0);
  server.close();
  await once(server, 'close');
});

test('a stream carries its headers and bytes both ways, and each side ends alone', async () => {
  onStream = (stream) => {
    assert.equal(stream.headers.get('streamtype'), 'data');
    stream.pipe(stream);
    return true;
  };
  const stream = await client.open({ streamtype: 'data' });
  await stream.replied;
  stream.send('hello ');
  stream.send('world', true);
  assert.equal(await stream.ended, 'fin');
  assert.equal(Buffer.concat(stream.received).toString(), 'hello world');
});

test('pings come back', async () => {
  await client.ping(1);
  await client.ping(3);
});

test('streams beyond the cap are refused, those before go on', async () => {
  onStream = (stream) => {
    stream.pipe(stream);
    return true;
  };
  const open = [];
  for (let count = 0; count < 5; count += 1) open.push(await client.open({}));
  assert.equal(await open[4]?.ended, 'reset');
  open[0]?.send('x', true);
  assert.equal(await open[0]?.ended, 'fin');
});

test('a stream that nobody wants is reset', async () => {
  onStream = () => false;
  assert.equal(await (await client.open({})).ended, 'reset');
});

test('32 MiB pass whole each way through a slow reader', async () => {
  const hash = createHash('sha256');
  const done = Promise.withResolvers<void>();
  onStream = (stream) => {
    stream.on('data', (chunk: Buffer) => {
      hash.update(chunk);
      stream.pause();
      setImmediate(() => stream.resume());
      if (!stream.write(chunk)) {
        stream.pause();
        stream.once('drain', () => stream.resume());
      }
    });
    stream.on('end', () => {
      stream.end();
      done.resolve();
    });
    return true;
  };
  const stream = await client.open({});
  const expected = createHash('sha256');
  const block = Buffer.alloc(1024 * 1024);
  for (let round = 0; round < 32; round += 1) {
    block.fill(round);
    expected.update(block);
    stream.send(block, round === 31);
  }
  await done.promise;
  const digest = expected.digest('hex');
  assert.equal(hash.digest('hex'), digest);
  assert.equal(await stream.ended, 'fin');
  assert.equal(createHash('sha256').update(Buffer.concat(stream.received)).digest('hex'), digest);
});

test('closing says goodbye after everything that was written', async () => {
  onStream = (stream) => {
    stream.end('last words');
    stream.on('finish', () => void session.close());
    return true;
  };
  const stream = await client.open({});
  await client.closed;
  assert.equal(Buffer.concat(stream.received).toString(), 'last words');
});

for (const [words, bytes] of [
  [
    'an even stream id',
    encodeControl({
      type: 'syn-stream',
      streamId: 2,
      associatedId: 0,
      fin: false,
      unidirectional: false,
      block: Buffer.alloc(0),
    }),
  ],
  ['another protocol', Buffer.from('GET / HTTP/1.1\r\n\r\n\xff\xff\xff\xff', 'latin1').fill(0x80, 0, 2)],
] as const) {
  test(`${words} closes the connection`, async () => {
    socket.write(bytes);
    await assert.rejects(session.closed, { kind: 'invalid-argument' });
  });
}

test('a client that goes away destroys its streams', async () => {
  const gone = Promise.withResolvers<void>();
  onStream = (stream) => {
    stream.on('close', () => gone.resolve());
    return true;
  };
  await (await client.open({})).replied;
  socket.destroy();
  await gone.promise;
});
