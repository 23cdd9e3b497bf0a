import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { experimental } from '@grpc/grpc-js';
import { FakeAgent } from '../../agent/testing/fake-agent.ts';
import { FakeChannel } from '../../agent/testing/fake-channel.ts';
import { defaultLinkLimits } from '../limits.ts';
import { GuestBatch, LinkCredentials, newNonce, shakeHands } from './connector.ts';
import { GuestClient } from './guest-client.ts';

const key = '0123456789abcdef';
const fast = { syncEveryMs: 10, handshakeMs: 200 };

describe('the link of the gateway to a guest', () => {
  let folder = '';
  let server: Server;
  const dialed: Socket[] = [];
  /** What plays the guest, one for each connection. */
  let guest: (socket: Socket) => void = () => undefined;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'husk-link-'));
    server = createServer((socket) => guest(socket.on('error', () => undefined)));
    server.listen(join(folder, 'guest'));
    await once(server, 'listening');
  });
  after(async () => {
    for (const socket of dialed) socket.destroy();
    server.close();
    await rm(folder, { recursive: true });
  });

  const dial = async (): Promise<Socket> => {
    const socket = connect(join(folder, 'guest'));
    dialed.push(socket);
    await once(socket, 'connect');
    return socket;
  };

  it('gives a guest that was late with its answer as much time for the batch as any other', async () => {
    const lateMs = fast.handshakeMs * 0.75;
    let heard = '';
    guest = (socket) =>
      socket.on('data', (bytes) => {
        const [asked, given] = ['SYNC', 'INIT'].map((word) => heard.includes(word));
        heard += bytes.toString('latin1');
        const nonce = /HUSK-SYNC ([0-9a-f]{32})\n/.exec(heard)?.[1] ?? '';
        const answer = Buffer.concat([Buffer.from(`HUSK-DONE ${nonce}\n\u0002\0\0\0`), Buffer.from('ok')]);
        if (asked !== true) setTimeout(() => socket.write(`HUSK-ECHO ${nonce}\n`), lateMs);
        if (given !== true && heard.includes('INIT')) setTimeout(() => socket.write(answer), lateMs);
        if (heard.includes('GO::')) socket.write('first bytes');
      });
    const socket = await dial();
    const batch = new GuestBatch(Buffer.from([0, 0, 0, 0]));
    await shakeHands(socket, fast, { nonce: newNonce(key), batch });
    assert.equal(String(await batch.answer), 'ok');
  });

  it('repeats SYNC with the key of the link until it is answered, and gives the session its first bytes', async () => {
    let heard = '';
    let rounds = 4;
    guest = (socket) =>
      socket.on('data', (bytes) => {
        const before = heard.split('SYNC').length;
        heard += bytes.toString('latin1');
        const nonce = /HUSK-SYNC ([0-9a-f]{32})\n/.exec(heard)?.[1] ?? '';
        // The third is answered: the guest was not up before.
        if (before < rounds && heard.split('SYNC').length >= rounds)
          socket.write(`stale HUSK-ECHO ${nonce}\nfirst bytes`);
      });
    const socket = await dial();
    await shakeHands(socket, fast, { nonce: newNonce(key) });
    assert.equal(String((await once(socket.resume(), 'data'))[0]), 'first bytes');
    const goes = /^(?:HUSK-SYNC ([0-9a-f]{32})\n){3,}HUSK-GO:: \1\n$/;
    while (!goes.test(heard)) await new Promise((resolve) => setImmediate(resolve));
    socket.destroy();
    const nonce = goes.exec(heard)?.[1] ?? '';
    assert.equal(nonce.slice(0, 16), key, heard);
    const first = nonce;
    heard = '';
    rounds = 2;
    const again = await dial();
    await shakeHands(again, fast, { nonce: newNonce(key) });
    again.destroy();
    assert.equal(heard.includes(first), false, 'a nonce was used twice');
    assert.equal(heard.includes(`SYNC ${key}`), true);
  });

  it('gives up on a guest that does not answer, and on one that hangs up', async () => {
    guest = (socket) => socket.resume();
    await assert.rejects(shakeHands(await dial(), fast, { nonce: newNonce(key) }), {
      kind: 'deadline-exceeded',
      message: /200 ms/,
    });
    guest = (socket) => socket.destroy();
    await assert.rejects(shakeHands(await dial(), fast, { nonce: newNonce(key) }), { kind: 'unavailable' });
  });

  it('runs HTTP/2 on the very socket that shook hands, as this version of grpc-js lets it', async () => {
    const agent = await FakeAgent.listen(join(folder, 'agent'), {});
    const channel = await FakeChannel.listen(join(folder, 'channel'), join(folder, 'agent'));
    const client = new GuestClient(channel.path, defaultLinkLimits, { key });
    try {
      const nonce = Buffer.from('n');
      const answer = await client.unary('hello', { nonce }, 5_000, new AbortController().signal);
      assert.deepEqual(answer.nonce, nonce);
      assert.equal(channel.sessions, 1);
      // Bytes of the session are counted at the socket: it is the one of the handshake.
      assert.ok(client.wastedBytes > 0);
    } finally {
      client.close();
      await channel.close();
      agent.close();
    }
  });

  it('lets no connection be made once it is closed', async () => {
    guest = (socket) => socket.resume();
    const credentials = new LinkCredentials(defaultLinkLimits, { key });
    const connector: experimental.SecureConnector = credentials._createSecureConnector();
    const socket = await dial();
    const connecting = connector.connect(socket);
    credentials.close();
    await assert.rejects(connecting, { kind: 'unavailable' });
    assert.equal(socket.destroyed, true);
    await assert.rejects(connector.connect(await dial()), { kind: 'cancelled' });
  });
});
