/** StreamAttach against a husk-streams that takes its time. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { OutputStream } from '../output-stream.ts';
import type { Pod } from '../pod.ts';
import { Streams } from '../streams.ts';
import { streamAttach } from './stream-attach.ts';

function fifo(path: string): string {
  execFileSync('mkfifo', [path]);
  return path;
}

function reader(path: string): Socket {
  return new Socket({ fd: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK), readable: true, writable: false });
}

test('what a container writes while a client is being joined reaches the client', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'husk-attach-'));
  const source = fifo(join(folder, 'source'));
  let changed = Promise.withResolvers<void>();
  const stdout = new OutputStream(reader(source), () => changed.resolve());
  const stderr = new OutputStream(reader(fifo(join(folder, 'source-err'))), () => undefined);
  const process = openSync(source, constants.O_WRONLY);
  const write = async (line: string): Promise<void> => {
    changed = Promise.withResolvers();
    writeSync(process, line);
    await changed.promise;
  };
  await write('before\n');
  const ended = Promise.withResolvers<void>();
  const joined = Promise.withResolvers<{ readonly output: Socket }>();
  const answer = async (socket: Socket, bytes: Buffer): Promise<void> => {
    const [word, , , , output] = bytes.toString().trim().split(' ');
    if (word === 'drain') return void socket.write('drained\n');
    const client = { output: reader(output as string) };
    // The input is joined with the rest: a fast container has answered before the agent hears of it.
    await write('reply\n');
    socket.write('ok\n');
    joined.resolve(client);
  };
  const husk = createServer((socket) => {
    socket.on('data', (bytes: Buffer) => void answer(socket, bytes).catch(joined.reject));
  });
  husk.listen(join(folder, 'streams.sock'));
  await once(husk, 'listening');
  const container = {
    state: 'running',
    parts: { id: 'c', stdout, stderr },
    ended: ended.promise,
    markAttached: () => undefined,
  };
  const pod = {
    container: () => container,
    fifos: { take: async () => [fifo(join(folder, '1')), fifo(join(folder, '2'))] },
    streams: new Streams(join(folder, 'streams.sock')),
  } as unknown as Pod;
  const stream = { nonce: 'a'.repeat(32), stream: 1 };
  const attached = streamAttach(pod, { containerId: 'c', stdin: false, stdout: true, stderr: false, stream });
  const { output } = await joined.promise;
  const seen = text(output);
  await write('later\n');
  closeSync(process);
  ended.resolve();
  await attached;
  stderr.end();
  assert.equal(await seen, 'reply\nlater\n');
  husk.close();
  await rm(folder, { recursive: true });
});
