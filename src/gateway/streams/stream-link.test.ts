/** The link of the gateway against the real program of the guest, over a socket in the port's place. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, constants, openSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { afterEach, beforeEach, test } from 'node:test';
import { systemClock } from '../../base/clock.ts';
import { withDeadline } from '../../base/deadline.ts';
import { defaultLinkLimits } from '../limits.ts';
import { BulkLink, type OutputWindows } from './stream-link.ts';

const program = join(import.meta.dirname, '../../../build/bin/husk-streams');
const waitMs = 20_000;

let folder: string;
let guest: ChildProcess;
let qemu: Server;
let link: BulkLink;
let windows: OutputWindows;
let port: Socket;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'husk-streams-'));
  guest = spawn(program, ['--port-fd', '3', '--socket', join(folder, 'agent.sock')], {
    stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
  });
  port = guest.stdio[3] as Socket;
  port.on('error', () => undefined);
  // In QEMU's place: one connection at a time, joined with the port.
  qemu = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.pipe(port, { end: false });
    port.pipe(socket);
    socket.on('close', () => port.unpipe(socket));
  });
  qemu.listen(join(folder, 'bulk.sock'));
  await once(qemu, 'listening');
  windows = { streams: 0 };
  link = await open();
});

afterEach(async () => {
  link.close();
  assert.equal(windows.streams, 0);
  qemu.close();
  guest.kill();
  await once(guest, 'exit');
  await rm(folder, { recursive: true });
});

const open = (): Promise<BulkLink> =>
  BulkLink.open(join(folder, 'bulk.sock'), {
    clock: systemClock,
    limits: defaultLinkLimits,
    windows,
    onClosed: () => undefined,
  });

async function listening(handler: (socket: Socket) => void): Promise<{ port: number; close: () => void }> {
  const server = createServer({ allowHalfOpen: true }, handler);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as { port: number }).port, close: () => server.close() };
}

async function hashOf(source: AsyncIterable<Buffer>): Promise<{ bytes: number; sha: string }> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of source) {
    bytes += chunk.length;
    hash.update(chunk);
  }
  return { bytes, sha: hash.digest('hex') };
}

test('a dialled stream carries 32 MiB each way, and half-closes', async () => {
  const echo = await listening((socket) => void pipeline(socket, socket).catch(() => undefined));
  const stream = link.stream(echo.port);
  await stream.ready;
  const sent = randomBytes(32 * 1024 * 1024);
  const back = hashOf(stream.output);
  stream.input.end(sent);
  const { bytes, sha } = await withDeadline('echo', waitMs, undefined, () => back);
  assert.equal(bytes, sent.length);
  assert.equal(sha, createHash('sha256').update(sent).digest('hex'));
  stream.close();
  echo.close();
});

test('a closed port is refused, with both tries named', async () => {
  const free = await listening(() => undefined);
  free.close();
  const stream = link.stream(free.port);
  await assert.rejects(stream.ready, /dial tcp4 127.0.0.1:\d+: connect: Connection refused; dial tcp6 \[::1\]/);
});

test('a stream that nobody reads does not hold up another', async () => {
  const flood = await listening((socket) => {
    socket.on('error', () => undefined);
    const block = Buffer.alloc(65_536);
    const more = (): void => {
      while (socket.writable && socket.write(block));
    };
    socket.on('drain', more);
    more();
  });
  const echo = await listening((socket) => void pipeline(socket, socket).catch(() => undefined));
  const stuck = Array.from({ length: 20 }, () => link.stream(flood.port));
  await Promise.all(stuck.map((stream) => stream.ready));
  const stream = link.stream(echo.port);
  stream.input.end('through');
  const [first] = await withDeadline('echo', waitMs, undefined, () => stream.output.toArray());
  assert.equal(String(first), 'through');
  for (const each of [...stuck, stream]) each.close();
  flood.close();
  echo.close();
});

/** Joins a stream with FIFOs, as the agent does; returns the connection. */
async function agentSays(line: string): Promise<{ socket: Socket; answer: string }> {
  const socket = connect(join(folder, 'agent.sock'));
  socket.write(`${line}\n`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  return { socket, answer: String(answer).trim() };
}

test('a process is joined by FIFOs: input, two outputs, their ends, and a drain', async () => {
  const stream = link.stream();
  const [input, output, error] = ['in', 'out', 'err'].map((name) => join(folder, name)) as [string, string, string];
  for (const path of [input, output, error]) execFileSync('mkfifo', [path]);
  const reader = openSync(input, constants.O_RDWR);
  const { socket, answer } = await agentSays(`join ${link.nonce} ${stream.id} ${input} ${output} ${error}`);
  assert.equal(answer, 'ok');
  await stream.ready;
  const child = spawn('sh', ['-c', 'exec <in >out 2>err; echo up; cat; echo oops >&2'], { cwd: folder });
  const ended = once(child, 'exit');
  const outputs = Promise.all([hashOf(stream.output), stream.error.toArray()]);
  await once(stream.output, 'data');
  closeSync(reader);
  const sent = randomBytes(8 * 1024 * 1024);
  stream.input.end(sent);
  const [{ sha }, errors] = await withDeadline('output', waitMs, undefined, () => outputs);
  assert.equal(sha, createHash('sha256').update('up\n').update(sent).digest('hex'));
  assert.equal(errors.join(''), 'oops\n');
  await ended;
  socket.write('drain 500\n');
  assert.equal(String((await once(socket, 'data'))[0]), 'drained\n');
  socket.destroy();
  stream.close();
});

test('a stale nonce joins nothing', async () => {
  const stream = link.stream();
  const { socket, answer } = await agentSays(`join ${'0'.repeat(32)} ${stream.id} - - -`);
  assert.equal(answer, 'error the session with the host is over');
  socket.destroy();
  stream.close();
});

test('a new gateway ends the streams of the one before, also one that died within a frame', async () => {
  const echo = await listening((socket) => {
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  const stream = link.stream(echo.port);
  await stream.ready;
  link.send(link.writer.dataHeader(stream.id, 20_000));
  link.send(Buffer.alloc(1_000, 'x'));
  stream.input.write('more');
  link.close();
  await assert.rejects(stream.output.toArray(), /closed/);
  link = await withDeadline('second link', waitMs, undefined, () => open());
  const again = link.stream(echo.port);
  again.input.end('fresh');
  assert.equal((await again.output.toArray()).join(''), 'fresh');
  again.close();
  echo.close();
});
