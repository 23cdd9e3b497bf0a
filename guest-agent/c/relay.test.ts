/** The relay as a real process; a socket pair stands for the port, a UNIX server for the agent. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { access, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { sleep, withDeadline } from '../../src/base/deadline.ts';
import { decodeAnswer, encodeBatch, op, requireDone } from '../../src/guest/sys-batch.ts';

const program = join(import.meta.dirname, '../../build/bin/husk-relay');
const sysProgram = join(import.meta.dirname, '../../build/bin/husk-sys');
const waitMs = 20_000;
const fuzzRounds = 3000;

/** Bytes of one direction, and a way to wait until they are enough. */
class Received extends EventEmitter {
  bytes = Buffer.alloc(0);
  closed = false;

  constructor(socket: Socket) {
    super();
    socket.on('data', (chunk: Buffer) => {
      this.bytes = Buffer.concat([this.bytes, chunk]);
      this.emit('change');
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.closed = true;
      this.emit('change');
    });
  }

  /** Waits until `enough` holds. */
  async until(what: string, enough: () => boolean): Promise<void> {
    await withDeadline(what, waitMs, undefined, async (signal) => {
      while (!enough()) await once(this, 'change', { signal });
    });
  }

  /** Takes the bytes up to and with the mark. */
  async take(mark: string): Promise<Buffer> {
    await this.until(`the relay to say "${mark.trim()}"`, () => this.bytes.includes(mark));
    const end = this.bytes.indexOf(mark) + mark.length;
    const taken = this.bytes.subarray(0, end);
    this.bytes = this.bytes.subarray(end);
    return taken;
  }
}

let folder: string;
let relay: ChildProcess;
let port: Socket;
let fromPort: Received;
let agent: Server;
let sessions: { socket: Socket; received: Received }[];
let arrivals: EventEmitter;
/** Sessions that a handshake has opened: the relay connects to the agent ahead of each. */
let used: number;

/** The key of the link: nonces of the host begin with it, those of strangers do not. */
const key = randomBytes(8).toString('hex');
const newNonce = (): string => key + randomBytes(8).toString('hex');
const strangeNonce = (): string => randomBytes(16).toString('hex');
const sync = (nonce: string): string => `HUSK-SYNC ${nonce}\n`;
const echo = (nonce: string): string => `HUSK-ECHO ${nonce}\n`;
const go = (nonce: string): string => `HUSK-GO:: ${nonce}\n`;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'husk-relay-'));
  sessions = [];
  arrivals = new EventEmitter();
  used = 0;
  agent = createServer((socket) => {
    sessions.push({ socket, received: new Received(socket) });
    arrivals.emit('session');
  });
  await startAgent();
  await access(program);
  startRelay();
});

function startRelay(): void {
  relay = spawn(program, ['--port-fd', '3', '--agent', join(folder, 'agent.sock'), '--sys', sysProgram], {
    stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
  });
  port = relay.stdio[3] as Socket;
  fromPort = new Received(port);
}

afterEach(async () => {
  assert.equal(relay.exitCode, null, 'the relay has ended by itself');
  relay.kill('SIGKILL');
  await once(relay, 'exit');
  port.destroy();
  for (const { socket } of sessions) socket.destroy();
  if (agent.listening) await new Promise((resolve) => agent.close(resolve));
  await rm(folder, { recursive: true });
});

async function startAgent(): Promise<void> {
  agent.listen(join(folder, 'agent.sock'));
  await once(agent, 'listening');
}

/** The handshake; returns the session that it opened at the agent. */
async function connect(nonce = newNonce()): Promise<{ socket: Socket; received: Received }> {
  port.write(sync(nonce));
  await fromPort.take(echo(nonce));
  port.write(go(nonce));
  return await opened();
}

/** The next connection that the relay has made to the agent. */
async function opened(): Promise<{ socket: Socket; received: Received }> {
  await withDeadline('a session at the agent', waitMs, undefined, async (signal) => {
    while (sessions.length <= used) await once(arrivals, 'session', { signal });
  });
  used += 1;
  return sessions[used - 1] as { socket: Socket; received: Received };
}

function assertNothingReceived(): void {
  for (const { received } of sessions) assert.equal(received.bytes.length, 0);
}

test('each SYNC gets one ECHO, and everything else is thrown away', async () => {
  const [first, second] = [newNonce(), newNonce()];
  port.write(`noise HUSK-SYN HUSK-SYNC ${first.toUpperCase().slice(0, 31)}G\nHUSKHUSK-${sync(first)}`);
  port.write(`${sync(first)}${sync(first)}${sync(second)}HUSK-ECHO ${first}\n`);
  const heard = (await fromPort.take(echo(second))).toString();
  assert.equal(heard, echo(first).repeat(3) + echo(second));
  assertNothingReceived();
});

test('a session passes bytes both ways, all of them, in order', async () => {
  const { socket, received } = await connect();
  const sent = randomBytes(4 * 1024 * 1024);
  socket.pipe(socket);
  port.write(sent);
  await fromPort.until('all bytes to come back', () => fromPort.bytes.length >= sent.length);
  assert.ok(fromPort.bytes.equals(sent));
  assert.ok(received.bytes.equals(sent));
});

test('a GO opens nothing without its SYNC, and only once', async () => {
  const nonce = newNonce();
  port.write(go(nonce) + sync(nonce) + go(newNonce()) + go(nonce));
  await fromPort.take(echo(nonce));
  const other = await connect();
  assertNothingReceived();
  other.socket.write('only this');
  await fromPort.take('only this');
});

/** Sends INIT with a batch and returns what came back behind DONE. */
async function askFor(nonce: string, batch: Buffer): Promise<Buffer> {
  port.write(Buffer.concat([Buffer.from(`HUSK-INIT ${nonce}\n`), batch]));
  await fromPort.take(`HUSK-DONE ${nonce}\n`);
  await fromPort.until('the length of the answer', () => fromPort.bytes.length >= 4);
  const end = 4 + fromPort.bytes.readUInt32LE(0);
  await fromPort.until('the answer', () => fromPort.bytes.length >= end);
  const answer = fromPort.bytes.subarray(4, end);
  fromPort.bytes = fromPort.bytes.subarray(end);
  return answer;
}

test('a batch sent with INIT is run before the session, once in the life of the relay', async () => {
  const file = join(folder, 'identity');
  // An argument may look like a frame of the handshake: it is none.
  const ops = [op('write', file, '384', `me ${sync(newNonce())}`), op('random', '32')];
  const nonce = newNonce();
  port.write(sync(nonce));
  await fromPort.take(echo(nonce));
  const results = requireDone(ops, decodeAnswer(await askFor(nonce, encodeBatch(ops))));
  assert.equal(results[1]?.bytes.length, 32);
  assert.match(await readFile(file, 'latin1'), /^me HUSK-SYNC /);
  assertNothingReceived();
  const again = [op('write', file, '384', 'somebody else')];
  assert.equal((await askFor(nonce, encodeBatch(again))).length, 0);
  assert.match(await readFile(file, 'latin1'), /^me /);
  port.write(go(nonce));
  const { received } = await opened();
  // In a session the same bytes are the agent's.
  port.write(`HUSK-INIT ${nonce}\n`);
  await received.until('the bytes of the session', () => received.bytes.length >= 43);
  assert.equal(received.bytes.toString(), `HUSK-INIT ${nonce}\n`);
});

test('an INIT without its SYNC, or with a length beyond the cap, runs nothing', async () => {
  const file = join(folder, 'identity');
  const batch = encodeBatch([op('write', file, '384', 'me')]);
  port.write(Buffer.concat([Buffer.from(`HUSK-INIT ${newNonce()}\n`), batch]));
  const nonce = newNonce();
  port.write(sync(nonce));
  await fromPort.take(echo(nonce));
  port.write(Buffer.concat([Buffer.from(`HUSK-INIT ${nonce}\n`), Buffer.alloc(4, 0xff)]));
  const other = await connect();
  other.socket.write('well');
  await fromPort.take('well');
  await assert.rejects(readFile(file), { code: 'ENOENT' });
});

test('a SYNC in mid-stream that does not hold the key of the link is bytes of the session', async () => {
  const nonce = newNonce();
  const { received } = await connect(nonce);
  const near = (nonce.startsWith('f') ? 'e' : 'f') + nonce.slice(1);
  const sent = [strangeNonce(), near, '0'.repeat(32)].map((other) => `<${sync(other)}${go(other)}>`).join('');
  port.write(sent);
  await received.until('all bytes', () => received.bytes.length >= sent.length);
  assert.equal(received.bytes.toString(), sent);
  assert.equal(received.closed, false);
});

test('a session without a key ends at any SYNC', async () => {
  const first = await connect('0'.repeat(16) + newNonce().slice(16));
  await connect(strangeNonce());
  await first.received.until('the end of the session', () => first.received.closed);
});

test('a SYNC in mid-stream ends the session, and no byte of it reaches the agent', async () => {
  const first = await connect();
  port.write('before');
  await first.received.until('the first bytes', () => first.received.bytes.length === 6);
  const nonce = newNonce();
  port.write(`${sync(nonce).slice(0, 20)}`);
  port.write(`${sync(nonce).slice(20)}stale${sync(nonce)}`);
  await first.received.until('the end of the session', () => first.received.closed);
  assert.equal(first.received.bytes.toString(), 'before');
  const second = await connect();
  second.socket.write('fresh');
  await fromPort.take('fresh');
});

test('what only looks like a SYNC is passed on, even when nothing follows', async () => {
  const { received } = await connect();
  const nonce = newNonce();
  const tries = [...Array(42).keys()].map((length) => sync(nonce).slice(0, length));
  let wanted = '';
  for (const text of [...tries, go(nonce), echo(nonce), sync(nonce.toUpperCase().replace(/\d/g, 'A'))]) {
    port.write(text);
    wanted += text;
    await received.until(`"${text}" to arrive`, () => received.bytes.length >= wanted.length);
  }
  assert.equal(received.bytes.toString(), wanted);
});

test('what the agent says when it is connected lies ready, and is sent once the session is open', async () => {
  const { socket } = await opened();
  socket.write('settings');
  used -= 1;
  const nonce = newNonce();
  port.write(sync(nonce));
  await fromPort.take(echo(nonce));
  await sleep(50);
  assert.equal(fromPort.bytes.length, 0);
  port.write(go(nonce));
  await fromPort.take('settings');
});

test('a session waits for an agent that starts late, and its bytes wait too', async () => {
  relay.kill('SIGKILL');
  await once(relay, 'exit');
  port.destroy();
  for (const { socket } of sessions) socket.destroy();
  used = sessions.length;
  await new Promise((resolve) => agent.close(resolve));
  startRelay();
  const nonce = newNonce();
  port.write(sync(nonce));
  await fromPort.take(echo(nonce));
  port.write(`${go(nonce)}early bytes`);
  await startAgent();
  const { received } = await opened();
  await received.until('the early bytes', () => received.bytes.length === 11);
  assert.equal(received.bytes.toString(), 'early bytes');
});

test('what the agent says last is sent when it closes, and the relay takes a new session', async () => {
  const { socket } = await connect();
  socket.end('goodbye');
  await fromPort.take('goodbye');
  const next = await connect();
  next.socket.write('again');
  await fromPort.take('again');
});

test('an agent that does not read holds the host back, and no byte is lost', async () => {
  const { socket, received } = await connect();
  socket.pause();
  const sent = randomBytes(8 * 1024 * 1024);
  port.write(sent);
  // It has stopped taking bytes when the count of those on their way does not change any more.
  let before = -1;
  while (before !== port.writableLength) {
    before = port.writableLength;
    await sleep(50);
  }
  assert.ok(port.writableLength > 0, 'the relay took everything, into which memory?');
  socket.resume();
  await received.until('all bytes', () => received.bytes.length >= sent.length);
  assert.ok(received.bytes.equals(sent));
});

/** Random bytes mixed with whole and cut frames of all kinds. */
function noise(nonce: string, frames: readonly string[]): Buffer {
  const parts: Buffer[] = [];
  for (let n = randomInt(6); n > 0; n -= 1) {
    const frame = frames[randomInt(frames.length)] ?? nonce;
    const cut = randomInt(2) === 0 ? frame : frame.slice(0, randomInt(frame.length));
    parts.push(randomInt(3) === 0 ? randomBytes(randomInt(200)) : Buffer.from(cut));
  }
  return Buffer.concat(parts);
}

function writeInPieces(bytes: Buffer): void {
  let start = 0;
  while (start < bytes.length) {
    const end = Math.min(bytes.length, start + 1 + randomInt(randomInt(2) === 0 ? 8 : 200));
    port.write(bytes.subarray(start, end));
    start = end;
  }
}

test(`after ${fuzzRounds} hostile streams the relay still opens clean sessions`, async (t) => {
  const started = performance.now();
  let exact = 0;
  for (let round = 0; round < fuzzRounds; round += 1) {
    const nonce = newNonce();
    // Between sessions, or in the one before: anything at all.
    const earlier = newNonce();
    const others = [sync(strangeNonce()), go(strangeNonce()), `${sync(strangeNonce())}${go(nonce)}`];
    const frames = [...others, sync(earlier), go(newNonce()), echo(nonce)];
    writeInPieces(noise(nonce, frames));
    const session = await connect(nonce);
    // In a session: anything but a whole SYNC with the link's key arrives as it was sent.
    const stranger = strangeNonce();
    const cut = [sync(stranger), sync(nonce).slice(0, 30), sync(stranger).slice(0, 42), 'HUSK-SYNC HUSK-SYNC '];
    const sent = noise(nonce, [...cut, go(nonce), echo(nonce)]);
    writeInPieces(sent);
    if (round % 2 === 0) {
      const { received } = session;
      await received.until('the bytes of the session', () => received.bytes.length >= sent.length);
      assert.ok(
        received.bytes.equals(sent),
        `round ${round}: ${received.bytes.toString('hex')} for ${sent.toString('hex')}`,
      );
      exact += 1;
    }
    session.socket.end(`end ${nonce}`);
    await fromPort.take(`end ${nonce}`);
  }
  t.diagnostic(
    `${fuzzRounds} streams (${exact} compared byte by byte) in ${Math.round(performance.now() - started)} ms`,
  );
});
