import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decode, encode } from './channels.ts';
import { ResizeParser } from './protocol.ts';

const anyBytes = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));

for (const base64 of [false, true]) {
  const codec = { base64, halfClose: true };
  test(`what is written is read (${base64 ? 'base64' : 'binary'})`, () => {
    fc.assert(
      fc.property(fc.nat(4), anyBytes, (channel, content) => {
        const message = encode(channel, content, codec);
        assert.equal(typeof message, base64 ? 'string' : 'object');
        assert.deepEqual(decode(Buffer.from(message as string), codec), { channel, content });
      }),
    );
  });

  test(`50 000 messages of any bytes are read, and hold no more than they did (${base64 ? 'base64' : 'binary'})`, () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const { channel, content } = decode(bytes, codec);
        assert.ok(Number.isInteger(channel) && content.length <= bytes.length);
      }),
      { numRuns: 50_000 },
    );
  });
}

test('50 000 streams of broken sizes give sizes or nothing', () => {
  const seed = '{"Width":80,"Height":24}{"Width":132,"Height":43}';
  const changes = fc.array(fc.tuple(fc.nat(seed.length - 1), fc.nat(255)), { maxLength: 6 });
  fc.assert(
    fc.property(changes, fc.nat(seed.length), (made, cut) => {
      const bytes = Buffer.from(seed);
      for (const [at, value] of made) bytes[at] = value;
      const parser = new ResizeParser();
      for (const piece of [bytes.subarray(0, cut), bytes.subarray(cut)]) {
        const size = parser.push(piece);
        if (size === undefined) continue;
        for (const cells of [size.width, size.height])
          assert.ok(Number.isInteger(cells) && cells > 0 && cells < 65_536);
      }
    }),
    { numRuns: 50_000 },
  );
});
