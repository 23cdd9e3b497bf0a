import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type GuestFrame, GuestFrameReader, HostFrameWriter, maxPayloadBytes } from './frames.ts';

/** As the guest writes it. */
function guestFrame(stream: number, type: number, channel: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt32LE(stream, 0);
  header.writeUInt8(type, 4);
  header.writeUInt8(channel, 5);
  header.writeUInt32LE(payload.length, 8);
  return Buffer.concat([header, payload]);
}

const credit = (bytes: number): Buffer => {
  const payload = Buffer.alloc(4);
  payload.writeUInt32LE(bytes);
  return payload;
};

const samples = [
  guestFrame(0, 0, 0, Buffer.alloc(0)),
  guestFrame(1, 7, 0, Buffer.alloc(0)),
  guestFrame(1, 2, 1, Buffer.from('some output')),
  guestFrame(1, 2, 2, Buffer.from('some error')),
  guestFrame(1, 4, 0, credit(70_000)),
  guestFrame(1, 3, 1, Buffer.alloc(0)),
  guestFrame(2, 6, 0, Buffer.from('refused')),
];

test('each kind of frame is read', () => {
  assert.deepEqual(
    [...new GuestFrameReader().push(Buffer.concat(samples))],
    [
      { type: 'hello' },
      { type: 'ready', stream: 1 },
      { type: 'data', stream: 1, channel: 1, data: Buffer.from('some output') },
      { type: 'data', stream: 1, channel: 2, data: Buffer.from('some error') },
      { type: 'credit', stream: 1, bytes: 70_000 },
      { type: 'end', stream: 1, channel: 1 },
      { type: 'reset', stream: 2, reason: 'refused' },
    ],
  );
});

test('however the bytes are cut, the same comes out', () => {
  const anyFrames = fc.array(fc.constantFrom(...samples), { maxLength: 12 });
  fc.assert(
    fc.property(anyFrames, fc.array(fc.nat(40)), (frames, cuts) => {
      const whole = Buffer.concat(frames);
      const reader = new GuestFrameReader();
      const read: GuestFrame[] = [];
      let at = 0;
      for (const cut of [...cuts, whole.length]) {
        read.push(...reader.push(whole.subarray(at, at + cut)));
        at = Math.min(whole.length, at + cut);
      }
      assert.equal(digest(read), digest([...new GuestFrameReader().push(whole)]));
    }),
  );
});

/** Data comes in pieces: what counts is the bytes of each channel, and all else in order. */
function digest(frames: readonly GuestFrame[]): string {
  const data = { 1: '', 2: '' };
  const rest = frames.filter((frame) => {
    if (frame.type === 'data') data[frame.channel] += frame.data.toString('hex');
    return frame.type !== 'data';
  });
  return JSON.stringify([rest, data]);
}

for (const [words, bytes] of [
  ['an unknown type', guestFrame(1, 9, 0, Buffer.alloc(0))],
  ['a type of the host', guestFrame(1, 1, 0, Buffer.alloc(0))],
  ['stream 0', guestFrame(0, 7, 0, Buffer.alloc(0))],
  ['a third output', guestFrame(1, 2, 3, Buffer.alloc(1))],
  ['data of no bytes', guestFrame(1, 2, 1, Buffer.alloc(0))],
  ['data beyond the cap', guestFrame(1, 2, 1, Buffer.alloc(maxPayloadBytes + 1))],
  ['a reason beyond the cap', guestFrame(1, 6, 0, Buffer.alloc(513))],
  ['a credit for an output', guestFrame(1, 4, 1, credit(1))],
  ['a credit of three bytes', guestFrame(1, 4, 0, Buffer.alloc(3))],
  ['a reserved field', Buffer.from('010000000700010000000000', 'hex')],
] as const) {
  test(`${words} is refused`, () => {
    assert.throws(() => [...new GuestFrameReader().push(bytes)], { kind: 'data-loss', stage: 'agent-protocol' });
  });
}

test('60 000 mutated streams are read or refused, and never more comes out than went in', () => {
  const seed = Buffer.concat(samples);
  const changes = fc.array(fc.tuple(fc.nat(seed.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(changes, fc.nat(seed.length), (made, cut) => {
      const mutated = Buffer.from(seed);
      for (const [at, value] of made) mutated[at] = value;
      const reader = new GuestFrameReader();
      try {
        let bytes = 0;
        for (const piece of [mutated.subarray(0, cut), mutated.subarray(cut)])
          for (const frame of reader.push(piece)) if (frame.type === 'data') bytes += frame.data.length;
        assert.ok(bytes <= mutated.length);
      } catch (caught) {
        assert.equal((caught as { kind?: string }).kind, 'data-loss');
      }
    }),
    { numRuns: 60_000 },
  );
});

test('what the host writes ends with the mark of its session', () => {
  const writer = new HostFrameWriter('0123456789abcdef0123456789abcdef');
  const mark = '3031323334353637';
  assert.equal(writer.open(3).toString('hex'), `030000000100000000000000${mark}`);
  assert.equal(writer.dial(3, 8080).toString('hex'), `030000000100000002000000901f${mark}`);
  assert.equal(writer.credit(3, 2, 65_536).toString('hex'), `03000000040200000400000000000100${mark}`);
  assert.equal(writer.resize(3, 80, 24).toString('hex'), `03000000050000000400000050001800${mark}`);
  assert.equal(writer.end(3).toString('hex'), `030000000300000000000000${mark}`);
  assert.equal(writer.reset(3).toString('hex'), `030000000600000000000000${mark}`);
});
