import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../base/clock.ts';
import { isKind } from '../../base/errors.ts';
import { QmpClient } from './qmp-client.ts';

/** A QEMU that does what the test says, and a client of it. */
async function against(qemu: (socket: Socket) => void, work: (client: QmpClient) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'qmp-'));
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    qemu(socket);
  });
  await new Promise<void>((resolve) => server.listen(join(folder, 's'), resolve));
  const client = new QmpClient(join(folder, 's'), { clock: systemClock, onEvent: () => undefined });
  try {
    await work(client);
  } finally {
    client.close();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    await rm(folder, { recursive: true });
  }
}

const ask = (client: QmpClient, ms = 5_000): Promise<unknown[]> => client.execute([QmpClient.negotiation], ms);

test('replies are matched by number, in whatever order they come', async () => {
  const qemu = (socket: Socket): void =>
    void socket.write('{"return":"two","id":2}\n{"event":"STOP"}\n{"return":"one","id":1}\n');
  await against(
    (socket) => socket.once('data', () => qemu(socket)),
    async (client) => {
      const command = { name: 'query-status', args: undefined } as const;
      assert.deepEqual(await client.execute([command, command], 5_000), ['one', 'two']);
    },
  );
});

test('an error of QEMU fails the command with its text', async () => {
  await against(
    (socket) => socket.once('data', () => socket.write('{"error":{"desc":"no such thing"},"id":1}\n')),
    (client) => assert.rejects(ask(client), /QMP qmp_capabilities: no such thing/),
  );
});

test('a QEMU that does not answer costs no more than the deadline', async () => {
  await against(
    () => undefined,
    (client) => assert.rejects(ask(client, 20), (caught) => isKind(caught, 'deadline-exceeded')),
  );
});

for (const [what, bytes] of [
  ['a line without end', Buffer.alloc(1024 * 1024, 'x')],
  ['nonsense', Buffer.from('nonsense\n')],
  ['a flood of events', Buffer.from('{"event":"RTC_CHANGE"}\n'.repeat(1000))],
] as const) {
  test(`${what} ends the connection and fails what waits`, async () => {
    await against(
      (socket) => socket.write(bytes),
      async (client) => {
        await assert.rejects(ask(client));
        assert.equal((await client.closed).kind, 'data-loss');
      },
    );
  });
}

test('a connection that ends fails what waits', async () => {
  await against(
    (socket) => socket.destroy(),
    (client) => assert.rejects(ask(client), (caught) => isKind(caught, 'unavailable')),
  );
});
