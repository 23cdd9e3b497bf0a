import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HuskError } from '../../base/errors.ts';
import { Handshake } from './handshake.ts';

const nonce = '0123456789abcdef0123456789abcdef';
const echo = `HUSK-ECHO ${nonce}\n`;
const go = `HUSK-GO:: ${nonce}\n`;

/** Feeds the bytes in pieces; returns what was sent and what the session starts with. */
function feed(pieces: readonly Uint8Array[]): { sent: string; open: string | undefined } {
  const handshake = new Handshake(nonce);
  let sent = '';
  let open: string | undefined;
  for (const piece of pieces) {
    if (open !== undefined) {
      open += Buffer.from(piece).toString('latin1');
      continue;
    }
    const step = handshake.receive(piece);
    sent += step.send?.toString('latin1') ?? '';
    open = step.open?.toString('latin1');
  }
  return { sent, open };
}

function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  let at = 0;
  for (const size of sizes) {
    pieces.push(bytes.subarray(at, at + size));
    at += size;
  }
  pieces.push(bytes.subarray(at));
  return pieces;
}

test('a SYNC frame has 43 bytes and the nonce', () => {
  assert.equal(new Handshake(nonce).sync.toString(), `HUSK-SYNC ${nonce}\n`);
  assert.throws(() => new Handshake('x'), HuskError);
});

test('stale bytes, answers to others and late answers never reach the session, however they are cut', () => {
  const stale = fc.oneof(
    fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
    fc.constant(Buffer.from(`HUSK-ECHO ${'f'.repeat(32)}\n`)),
    fc.nat({ max: 42 }).map((size) => Buffer.from(echo.slice(0, size))),
  );
  // HTTP/2 of a server starts with a SETTINGS frame: never with an H.
  const session = fc.uint8Array({ minLength: 1, maxLength: 80 }).map((bytes) => Buffer.from([0, ...bytes]));
  const sizes = fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 40 });
  fc.assert(
    fc.property(
      fc.array(stale, { maxLength: 4 }),
      fc.integer({ min: 1, max: 5 }),
      session,
      sizes,
      (old, echoes, bytes, cuts) => {
        const all = Buffer.concat([...old, Buffer.from(echo.repeat(echoes)), bytes]);
        const { sent, open } = feed(cut(all, cuts));
        assert.equal(sent, go);
        assert.equal(open, bytes.toString('latin1'));
      },
    ),
    { numRuns: 2_000 },
  );
});

test('without an answer nothing is sent and nothing opens', () => {
  assert.deepEqual(feed([Buffer.from(`HUSK-ECHO ${'f'.repeat(32)}\n`), Buffer.from(echo.slice(0, 42))]), {
    sent: '',
    open: undefined,
  });
});

test('a silent guest lets the session open with what was held', () => {
  const handshake = new Handshake(nonce);
  handshake.receive(Buffer.from(`${echo}HUSK`));
  assert.equal(handshake.searching, false);
  assert.equal(handshake.finish().open.toString(), 'HUSK');
});

test('a guest that never answers, or never stops answering, is given up', () => {
  const noise = new Handshake(nonce);
  const chunk = Buffer.alloc(1024 * 1024, 'H');
  assert.throws(() => {
    for (let count = 0; count < 10; count += 1) noise.receive(chunk);
  }, /without an answer/);
  const parrot = new Handshake(nonce);
  const echoes = Buffer.from(echo.repeat(10_000));
  assert.throws(() => {
    for (let count = 0; count < 30; count += 1) parrot.receive(echoes);
  }, /repeats ECHO/);
});

test('with a batch, INIT follows the answer, and GO follows DONE, however the bytes are cut', () => {
  const batch = Buffer.from([4, 0, 0, 0, 1, 2, 3, 4]);
  const answer = Buffer.from('k\0\0\0\0HUSK-ECHO');
  const head = Buffer.alloc(4);
  head.writeUInt32LE(answer.length);
  const all = Buffer.concat([
    Buffer.from(`${echo}${echo}HUSK-DONE ${nonce}\n`),
    head,
    answer,
    Buffer.from('\0settings'),
  ]);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 40 }), (cuts) => {
      const handshake = new Handshake(nonce, batch);
      const sent: string[] = [];
      let [given, open] = ['', ''];
      for (const piece of cut(all, cuts)) {
        if (open !== '') {
          open += piece.toString('latin1');
          continue;
        }
        const step = handshake.receive(piece);
        if (step.send !== undefined) sent.push(step.send.toString('latin1'));
        given += step.answer?.toString('latin1') ?? '';
        open += step.open?.toString('latin1') ?? '';
      }
      // One step may send both: the batch first.
      assert.equal(sent.at(-1), go);
      assert.equal(given, answer.toString('latin1'));
      assert.equal(open, '\0settings');
    }),
    { numRuns: 2_000 },
  );
});

test('an answer to INIT that is none, or beyond the cap, is refused', () => {
  const batch = Buffer.from([0, 0, 0, 0]);
  const asked = (bytes: string): (() => unknown) => {
    const handshake = new Handshake(nonce, batch);
    handshake.receive(Buffer.from(echo));
    return () => handshake.receive(Buffer.from(bytes, 'latin1'));
  };
  assert.throws(asked('\0settings'), /something else than DONE/);
  assert.throws(asked(`HUSK-DONE ${'f'.repeat(32)}\n`), /something else than DONE/);
  assert.throws(asked(`HUSK-DONE ${nonce}\n\x01\x40\0\0`), /16385 bytes to INIT/);
});

test('mutated byte streams neither crash it nor make it open without its nonce', () => {
  const good = Buffer.from(`${echo}${echo}\0\0\x12\x04`);
  const mutation = fc.record({
    flips: fc.array(fc.record({ at: fc.nat({ max: good.length - 1 }), value: fc.nat({ max: 255 }) }), { maxLength: 4 }),
    cuts: fc.array(fc.integer({ min: 1, max: 50 }), { maxLength: 10 }),
    front: fc.uint8Array({ maxLength: 60 }),
  });
  fc.assert(
    fc.property(mutation, ({ flips, cuts, front }) => {
      const bytes = Buffer.concat([front, good]);
      for (const { at, value } of flips) bytes[front.length + at] = value;
      const { open } = feed(cut(bytes, cuts));
      assert.equal(open === undefined || bytes.includes(echo), true);
    }),
    { numRuns: 20_000 },
  );
});
