/** husk-sys as the agent drives it: batches, files of hostile trees, FIFOs. Changes nothing outside a temporary folder. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { access, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import fc from 'fast-check';
import { sleep } from '../../src/base/deadline.ts';
import { silentLog } from '../../src/base/log.ts';
import { encodeBatch, op, type SysOp, type SysResult, tryOp } from '../../src/guest/sys-batch.ts';
import { closeWriters, FifoPool, type OpenFifo } from '../src/fifos.ts';
import { OutputStream, ringBytes } from '../src/output-stream.ts';
import { SysHelper } from '../src/sys-helper.ts';

const program = join(import.meta.dirname, '../../build/bin/husk-sys');
let folder: string;
let sys: SysHelper;

beforeEach(async () => {
  await access(program);
  folder = await mkdtemp(join(tmpdir(), 'husk-sys-'));
  sys = new SysHelper(program);
});

afterEach(async () => {
  sys.close();
  await rm(folder, { recursive: true });
});

const shown = (results: readonly SysResult[]): string[] =>
  results.map(({ ok, bytes }) => `${ok ? '+' : '-'}${bytes.toString()}`);

test('operations run in order and stop at the first that may not fail', async () => {
  const path = join(folder, 'a');
  await sys.run([
    op('write', path, '384', 'one'),
    op('mkdir', join(folder, 'd'), '448'),
    op('mkdir', join(folder, 'd'), '448'),
  ]);
  assert.equal(await readFile(path, 'utf8'), 'one');
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const late = join(folder, 'late');
  await assert.rejects(
    sys.run([op('umount', '/no/such'), op('write', late, '384', '')]),
    /2 umount "\/no\/such": No such file/,
  );
  await assert.rejects(access(late));
  const results = await sys.run([tryOp('umount', '/no/such'), op('write', late, '384', 'x'), op('random', '8')]);
  assert.deepEqual(shown(results).slice(0, 2), ['-2 umount "/no/such": No such file or directory', '+']);
  assert.equal(results[2]?.bytes.length, 8);
});

test('many batches at once are answered each with its own', async () => {
  const texts = Array.from({ length: 50 }, (_, index) => `text ${index}`);
  for (const [index, text] of texts.entries()) writeFileSync(join(folder, String(index)), text);
  const answers = await Promise.all(texts.map((_, index) => sys.run([op('read', folder, String(index), '100')])));
  assert.deepEqual(
    answers.map(([result]) => result?.bytes.toString()),
    texts,
  );
});

test('numbers, flags and addresses that are none are refused before anything happens', async () => {
  const bad = [
    tryOp('read', folder, 'a', '-1'),
    tryOp('read', folder, 'a', '99999999999999999999'),
    tryOp('write', join(folder, 'w'), '0x1', ''),
    tryOp('mount', 'a', folder, 'tmpfs', 'ro,evil', ''),
    tryOp('random', '257'),
    tryOp('entropy', 'abc'),
    tryOp('ifmac', 'lo', '02:00:00:00:00:01x'),
    tryOp('addr', 'lo', '10.0.0.1'),
    tryOp('addr', 'lo', '10.0.0.1/33'),
    tryOp('route', 'lo', '10.0.0.0/8', 'fd00::1'),
    tryOp('ifname', 'lo', 'x'.repeat(16)),
    tryOp('part', '/dev/null', '256', '0', '512'),
    tryOp('procfile', '1/../../x', '/etc/hostname', '/proc/version'),
  ];
  for (const [index, { ok }] of (await sys.run(bad)).entries()) assert.ok(!ok, JSON.stringify(bad[index]));
});

test('a file of a hostile tree is read inside the tree, when it is a regular one and not too big', async () => {
  const root = join(folder, 'root');
  mkdirSync(join(root, 'etc'), { recursive: true });
  writeFileSync(join(folder, 'secret'), 'outside');
  writeFileSync(join(root, 'etc/real'), 'inside');
  symlinkSync('real', join(root, 'etc/link'));
  symlinkSync('/etc/real', join(root, 'etc/absolute'));
  symlinkSync('../../../../../../secret', join(root, 'etc/up'));
  symlinkSync(join(folder, 'secret'), join(root, 'etc/out'));
  symlinkSync('/proc/self/environ', join(root, 'etc/proc'));
  symlinkSync('loop', join(root, 'etc/loop'));
  await sys.run([op('mkfifo', join(root, 'etc/fifo'))]);
  writeFileSync(join(root, 'etc/big'), Buffer.alloc(101));
  const names = ['real', 'link', 'absolute', 'up', 'out', 'proc', 'loop', 'fifo', 'big', '', 'none'];
  const results = await sys.run(names.map((name) => tryOp('read', root, `etc/${name}`, '100')));
  assert.deepEqual(
    results.map(({ ok, bytes }) => (ok ? bytes.toString() : 'refused')),
    ['inside', 'inside', 'inside', ...Array<string>(8).fill('refused')],
  );
});

test('what is mounted inside a container is there alone, and the program is where it was', {
  skip: process.getuid?.() !== 0,
}, async () => {
  for (const name of ['source', 'target']) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'source/file'), 'shown');
  const container = spawn('unshare', ['--mount', 'sleep', '60'], { stdio: 'ignore' });
  try {
    const space = (pid: number | 'self'): string => readlinkSync(`/proc/${pid}/ns/mnt`);
    const pid = container.pid as number;
    while (space(pid) === space('self')) await sleep(5);
    const bind = (target: string): SysOp =>
      tryOp('bindinto', String(pid), join(folder, 'source'), join(folder, target), 'ro');
    const results = await sys.run([
      bind('none'),
      bind('target'),
      op('read', join(folder, 'source'), 'file', '10'),
      op('write', join(folder, 'ours'), '511', ''),
    ]);
    assert.deepEqual(
      results.map(({ ok }) => ok),
      [false, true, true, true],
    );
    assert.equal(readFileSync(`/proc/${pid}/root${folder}/target/file`, 'latin1'), 'shown');
    assert.deepEqual(readdirSync(join(folder, 'target')), []);
    assert.equal(statSync(join(folder, 'ours')).mode & 0o777, 0o777);
  } finally {
    container.kill('SIGKILL');
  }
});

test('bytes that are no batch are answered with a failure or end the program, and never crash it', () => {
  const frame = (body: Buffer): Buffer => {
    const head = Buffer.alloc(4);
    head.writeUInt32LE(body.length);
    return Buffer.concat([head, body]);
  };
  // Only harmless operations, cut and changed: this runs on the machine of whoever tests.
  const whole = encodeBatch([tryOp('read', '/', 'none', '10'), op('random', '3'), tryOp('chdir', '/none')]).subarray(4);
  const cut = fc
    .tuple(fc.nat(whole.length), fc.nat(255))
    .map(([at, byte]) => frame(Buffer.concat([whole.subarray(0, at), Buffer.from([byte])])));
  const noise = fc.uint8Array({ maxLength: 200 }).map((bytes) => frame(Buffer.from(bytes)));
  const raw = fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes));
  fc.assert(
    fc.property(fc.array(fc.oneof(cut, noise, raw), { maxLength: 5 }), (frames) => {
      const { signal, status } = spawnSync(program, { input: Buffer.concat(frames), timeout: 10_000 });
      assert.equal(signal, null);
      assert.ok(status === 0 || status === 1);
    }),
    { numRuns: 150 },
  );
});

test('when the program dies, the batch under way fails and the next one works', async () => {
  const path = join(folder, 'fifo');
  await sys.run([op('mkfifo', path)]);
  // Opening a FIFO for writing waits for a reader that never comes.
  const stuck = sys.run([op('write', path, '384', 'x')]);
  sys.close();
  await assert.rejects(stuck, { kind: 'unavailable' });
  assert.equal((await sys.run([op('random', '4')]))[0]?.bytes.length, 4);
});

async function openOne(): Promise<OpenFifo> {
  const pool = new FifoPool(sys, folder, silentLog);
  const [fifo] = await pool.open(1);
  await pool.fill();
  return fifo ?? assert.fail('no FIFO');
}

test('a stream waits while its ring is full, and loses nothing', async () => {
  const fifo = await openOne();
  const total = 3_000_000;
  const writer = spawnWriter(fifo.writeFd, total);
  closeWriters([fifo]);
  let wake: () => void = () => undefined;
  const stream = new OutputStream(fifo.output, () => wake());
  let at = 0n;
  while (!stream.ring.ended || at < stream.ring.end) {
    assert.ok(stream.ring.end - stream.ring.start <= BigInt(ringBytes));
    const { data } = stream.ring.read(at, 64 * 1024);
    at += BigInt(data.length);
    stream.acknowledge(at);
    if (data.length > 0) continue;
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
  assert.equal(at, BigInt(total));
  await writer;
});

/** Writes zeros, and ends when all are taken. */
async function spawnWriter(fd: number, bytes: number): Promise<void> {
  await once(spawn('head', ['-c', String(bytes), '/dev/zero'], { stdio: ['ignore', fd, 'ignore'] }), 'close');
}

test('a stream that is held open but silent ends by itself, one that waits for room does not', async () => {
  const pool = new FifoPool(sys, folder, silentLog);
  const [silent, full] = (await pool.open(2)) as [OpenFifo, OpenFifo];
  const changes = new Set<OutputStream>();
  const streams = [silent, full].map(({ output }): OutputStream => {
    const stream: OutputStream = new OutputStream(output, () => changes.add(stream));
    return stream;
  }) as [OutputStream, OutputStream];
  for (let sent = 0; sent < ringBytes; sent += 32_768) {
    writeSync(full.writeFd, Buffer.alloc(32_768));
    while (streams[1].ring.end < BigInt(sent + 32_768) && streams[1].ring.free >= 65_536)
      await new Promise(setImmediate);
  }
  for (const stream of streams) stream.endWhenIdle(20);
  await once(silent.output, 'close');
  assert.equal(streams[0].ring.ended, true);
  assert.equal(streams[1].ring.ended, false);
  closeWriters([silent, full]);
  for (let ended = false; !ended; await new Promise(setImmediate)) {
    streams[1].acknowledge(streams[1].ring.end);
    ended = streams[1].ring.ended;
  }
  assert.equal(streams[1].ring.end, BigInt(ringBytes));
  await pool.fill();
});

test('FIFOs are used once and leave no name', async () => {
  const pool = new FifoPool(sys, folder, silentLog);
  const opened = await pool.open(3);
  const [name] = await pool.take(1);
  await pool.fill();
  const left = readdirSync(folder).length;
  assert.equal(left % 32, 29);
  closeWriters(opened);
  for (const { output } of opened) output.destroy();
  unlinkSync(name as string);
});
