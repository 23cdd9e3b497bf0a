import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeStatus, Exits, parseExits } from './exits.ts';

test('a wait status is an exit code or 128 and the signal', () => {
  assert.deepEqual(decodeStatus(5, 42 << 8), { pid: 5, signal: 0, exitCode: 42 });
  assert.deepEqual(decodeStatus(5, 9), { pid: 5, signal: 9, exitCode: 137 });
  assert.equal(decodeStatus(5, 11 | 0x80).exitCode, 139);
});

test('lines that are none are dropped, a cut one is kept for the next read', () => {
  const { exits, rest } = parseExits('7 0\nx\n-1 0\n 8 0\n08 1\n9 256\n10 2');
  assert.deepEqual(
    exits.map(({ pid, exitCode }) => [pid, exitCode]),
    [
      [7, 0],
      [9, 1],
    ],
  );
  assert.equal(rest, '10 2');
  assert.equal(parseExits('1'.repeat(100)).rest, '');
});

test('exits arrive whole, however the FIFO cuts the bytes', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.integer({ min: 1, max: 4_000_000 }), { minLength: 1, maxLength: 30 }),
      fc.nat(7),
      async (pids, cut) => {
        const exits = new Exits();
        const waiting = Promise.all(pids.map((pid) => exits.exitOf(pid)));
        const text = pids.map((pid) => `${pid} ${(pid % 256) << 8}\n`).join('');
        for (let at = 0; at < text.length; at += cut + 1) exits.feed(Buffer.from(text.slice(at, at + cut + 1)));
        assert.deepEqual(
          (await waiting).map(({ exitCode }) => exitCode),
          pids.map((pid) => pid % 256),
        );
      },
    ),
  );
});

test('a process that ends before its pid is known is found, but not one of another start', async () => {
  const exits = new Exits();
  exits.feed(Buffer.from('12 0\n'));
  const found = await exits.expect(async () => {
    exits.feed(Buffer.from('12 256\n'));
    return exits.exitOf(12);
  });
  assert.equal(found.exitCode, 1);
  await exits.expect(async () => exits.feed(Buffer.from('13 0\n')));
  const late = exits.exitOf(13);
  exits.feed(Buffer.from('13 512\n'));
  assert.equal((await late).exitCode, 2);
});

test('two waiters for one pid are a mistake', () => {
  const exits = new Exits();
  void exits.exitOf(3);
  assert.throws(() => exits.exitOf(3), { kind: 'internal' });
});
