import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { PassThrough, Writable } from 'node:stream';
import { afterEach, beforeEach, test } from 'node:test';
import { Inlet } from './inlet.ts';

const sent = randomBytes(4 * 1024 * 1024);
let inlet: Inlet;
let socket: Socket;
let peer: Socket;

beforeEach(async () => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  inlet = new Inlet();
  const { port } = server.address() as AddressInfo;
  socket = connect({ port, host: '127.0.0.1', onread: inlet.onread });
  [peer] = (await once(server, 'connection')) as [Socket];
  server.close();
});
afterEach(() => {
  for (const each of [socket, peer]) each.destroy();
});

test('all of it reaches a client that takes its time, though one buffer is read into over and over', async () => {
  const hash = createHash('sha256');
  let waited = 0;
  const client = new Writable({
    write(piece: Buffer, _encoding, done) {
      // The bytes must still be the same when the client gets to them.
      setImmediate(() => {
        waited += Number(inlet.waiting);
        hash.update(piece);
        done();
      });
    },
  });
  peer.end(sent);
  assert.equal(await inlet.copy(socket, client), true);
  assert.equal(hash.digest('hex'), createHash('sha256').update(sent).digest('hex'));
  assert.ok(waited >= sent.length / (64 * 1024), `${waited} pieces were waited for`);
  assert.deepEqual([inlet.waiting, client.writableEnded], [false, false]);
});

test('a client that closes its end, or never had one, holds up nobody', async () => {
  const client = new PassThrough();
  client.once('data', () => client.destroy());
  peer.end(sent);
  assert.equal(await inlet.copy(socket, client), true);
  assert.equal(socket.bytesRead, sent.length);
});

test('a client that closes its end while it takes nothing holds up nobody', async () => {
  const client = new Writable({ write: () => undefined });
  peer.end(sent);
  const copied = inlet.copy(socket, client);
  setTimeout(() => client.destroy(), 20);
  assert.equal(await copied, true);
  assert.equal(socket.bytesRead, sent.length);
});

test('no client at all: it is read to its end', async () => {
  peer.end(sent);
  assert.equal(await inlet.copy(socket, undefined), true);
});

test('a connection that breaks is told from one that ends', async () => {
  const client = new PassThrough();
  const copied = inlet.copy(socket, client);
  peer.write('x');
  await once(client, 'data');
  peer.resetAndDestroy();
  assert.equal(await copied, false);
});
