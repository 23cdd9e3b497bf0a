import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { dataHeader, encodeControl, type Frame, FrameReader, maxControlFrameBytes } from './frames.ts';

const id = fc.integer({ min: 1, max: 0x7fff_ffff });
const word = fc.integer({ min: 0, max: 0xffff_ffff });
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const controlFrame: fc.Arbitrary<Parameters<typeof encodeControl>[0]> = fc.oneof(
  fc.record({
    type: fc.constant('syn-stream' as const),
    streamId: id,
    associatedId: id,
    fin: fc.boolean(),
    unidirectional: fc.boolean(),
    block: bytes,
  }),
  fc.record({
    type: fc.constantFrom('syn-reply' as const, 'headers' as const),
    streamId: id,
    fin: fc.boolean(),
    block: bytes,
  }),
  fc.record({ type: fc.constant('rst-stream' as const), streamId: id, status: word }),
  fc.record({ type: fc.constant('ping' as const), id: word }),
  fc.record({ type: fc.constant('goaway' as const), lastStreamId: id, status: word }),
);
const dataFrame = fc.record({ type: fc.constant('data' as const), streamId: id, fin: fc.boolean(), data: bytes });

function encode(frame: Frame): Buffer {
  if (frame.type === 'data')
    return Buffer.concat([dataHeader(frame.streamId, frame.data.length, frame.fin), frame.data]);
  return encodeControl(frame as Parameters<typeof encodeControl>[0]);
}

/** Joins the pieces in which data comes. */
function join(frames: Iterable<Frame>): Frame[] {
  const joined: Frame[] = [];
  let open: Buffer[] = [];
  for (const frame of frames) {
    if (frame.type !== 'data') joined.push(frame);
    else {
      open.push(frame.data);
      joined.push({ ...frame, data: Buffer.concat(open) });
      open = [];
    }
  }
  return joined;
}

test('frames survive their bytes', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(controlFrame, dataFrame), { maxLength: 8 }), (frames) => {
      const read = join(new FrameReader().push(Buffer.concat(frames.map(encode))));
      assert.deepEqual(JSON.parse(JSON.stringify(read)), JSON.parse(JSON.stringify(frames)));
    }),
  );
});

test('however the bytes are cut, the same content comes out', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(controlFrame, dataFrame), { maxLength: 6 }),
      fc.array(fc.nat(400)),
      (frames, cuts) => {
        const whole = Buffer.concat(frames.map(encode));
        const reader = new FrameReader();
        const digest = (read: Frame[]): string => {
          const data = new Map<number, string>();
          const rest = read.filter((frame) => {
            if (frame.type !== 'data') return true;
            data.set(
              frame.streamId,
              `${data.get(frame.streamId) ?? ''}${frame.data.toString('hex')}${frame.fin ? '.' : ''}`,
            );
            return false;
          });
          return JSON.stringify([rest, [...data]]);
        };
        const pieces: Frame[] = [];
        let at = 0;
        for (const cut of [...cuts, whole.length]) {
          const end = Math.min(whole.length, at + cut);
          pieces.push(...reader.push(whole.subarray(at, end)));
          at = end;
        }
        pieces.push(...reader.push(whole.subarray(at)));
        assert.equal(digest(pieces), digest([...new FrameReader().push(whole)]));
      },
    ),
  );
});

for (const [words, input] of [
  ['another version', Buffer.from('8002000100000000', 'hex')],
  ['data for stream 0', Buffer.from('0000000000000001aa', 'hex')],
  ['a short SYN_STREAM', Buffer.from('80030001000000040000000100', 'hex')],
  ['a control frame beyond the cap', Buffer.from('8003000400ffffff', 'hex')],
] as const) {
  test(`${words} is refused`, () => {
    assert.throws(() => [...new FrameReader().push(input)], {
      kind: 'invalid-argument',
      message: /^read SPDY frame: /,
    });
  });
}

test('50 000 mutated byte streams are read or refused, and nothing is kept beyond the cap', () => {
  const seed = Buffer.concat([
    encodeControl({
      type: 'syn-stream',
      streamId: 1,
      associatedId: 0,
      fin: false,
      unidirectional: false,
      block: Buffer.alloc(40, 7),
    }),
    Buffer.concat([dataHeader(1, 20, false), Buffer.alloc(20, 1)]),
    encodeControl({ type: 'ping', id: 1 }),
    encodeControl({ type: 'goaway', lastStreamId: 1, status: 0 }),
  ]);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(seed.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 }), (changes) => {
      const mutated = Buffer.from(seed);
      for (const [at, value] of changes) mutated[at] = value;
      try {
        let total = 0;
        for (const frame of new FrameReader().push(mutated)) {
          if ('block' in frame) total += frame.block.length;
        }
        assert.ok(total <= maxControlFrameBytes);
      } catch (caught) {
        assert.equal((caught as { kind?: string }).kind, 'invalid-argument');
      }
    }),
    { numRuns: 50_000 },
  );
});
