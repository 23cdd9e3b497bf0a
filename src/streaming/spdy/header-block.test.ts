import assert from 'node:assert/strict';
import { test } from 'node:test';
import { constants, createDeflate, deflateSync } from 'node:zlib';
import fc from 'fast-check';
import { spdyDictionary } from './dictionary.ts';
import { HeaderReader, HeaderWriter, parseHeaders, serializeHeaders } from './header-block.ts';

const bad = { kind: 'invalid-argument' };

test('blocks of one connection are read in order, each by what came before', async () => {
  const writer = new HeaderWriter();
  const reader = new HeaderReader();
  for (const type of ['error', 'stdin', 'stdout', 'stderr', 'resize']) {
    const headers = new Map([
      ['streamtype', type],
      ['port', '80'],
    ]);
    assert.deepEqual(await reader.read(await writer.write(headers)), headers);
  }
  writer.close();
  reader.close();
});

test('a stream starts with the id of the SPDY/3 dictionary', async () => {
  const writer = new HeaderWriter();
  const block = await writer.write(new Map());
  assert.equal(block.subarray(2, 6).toString('hex'), 'e3c6a7c2');
  writer.close();
});

test('names and values survive', () => {
  const text = fc.string({ maxLength: 50 }).map((value) => Buffer.from(value, 'latin1').toString('latin1'));
  const name = fc.stringMatching(/^[a-z-]{1,20}$/);
  fc.assert(
    fc.property(fc.uniqueArray(fc.tuple(name, text), { maxLength: 20, selector: ([key]) => key }), (pairs) => {
      const headers = new Map(pairs);
      assert.deepEqual(parseHeaders(serializeHeaders(headers)), headers);
    }),
  );
});

for (const [words, hex] of [
  ['a count beyond the cap', '000f4240'],
  ['a length that leads outside', '0000000100ffffff61'],
  ['an empty name', '000000010000000000000000'],
  ['a name twice', '0000000200000001610000000000000001610000 0000'.replace(' ', '')],
  ['bytes after the last header', '00000000ff'],
  ['an end within a length', '0000'],
] as const) {
  test(`${words} is refused`, () => assert.throws(() => parseHeaders(Buffer.from(hex, 'hex')), bad));
}

test('a block that grows beyond the cap is refused before it is held', async () => {
  const bomb = createDeflate({ dictionary: spdyDictionary });
  const chunks: Buffer[] = [];
  bomb.on('data', (chunk: Buffer) => chunks.push(chunk));
  bomb.write(Buffer.alloc(32 * 1024 * 1024));
  await new Promise<void>((resolve) => bomb.flush(constants.Z_SYNC_FLUSH, () => resolve()));
  const reader = new HeaderReader();
  await assert.rejects(reader.read(Buffer.concat(chunks)), { ...bad, message: /more than 65536 bytes/ });
  await assert.rejects(reader.read(Buffer.alloc(4)), bad);
  bomb.destroy();
  reader.close();
});

test('garbage and a stream with another dictionary are refused', async () => {
  for (const block of [Buffer.alloc(64, 0xff), deflateSync(Buffer.alloc(8), { dictionary: Buffer.from('other') })]) {
    const reader = new HeaderReader();
    await assert.rejects(reader.read(block), bad);
    reader.close();
  }
});
