/** Against node:http2, whose encoder makes every header block here. */
import assert from 'node:assert/strict';
import { connect, constants } from 'node:http2';
import { createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeHuffman, encodeHeaders, HeaderDecoder } from './hpack.ts';

const printable = String.fromCharCode(...Array.from({ length: 95 }, (_, index) => 32 + index)).trim();

/** Header blocks that a client of Node sends for these requests, in order. */
async function blocksOf(requests: readonly Record<string, string>[]): Promise<Buffer[]> {
  const { promise, resolve } = Promise.withResolvers<Buffer[]>();
  const blocks: Buffer[] = [];
  const server = createServer((socket: Socket) => {
    let bytes = Buffer.alloc(0);
    socket.on('error', () => undefined);
    socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      let at = 24;
      blocks.length = 0;
      while (bytes.length >= at + 9 && bytes.length >= at + 9 + bytes.readUIntBE(at, 3)) {
        const end = at + 9 + bytes.readUIntBE(at, 3);
        const priority = ((bytes[at + 4] as number) & 0x20) === 0 ? 0 : 5;
        if (bytes[at + 3] === 1) blocks.push(Buffer.from(bytes.subarray(at + 9 + priority, end)));
        at = end;
      }
      if (blocks.length === requests.length) resolve([...blocks]);
    });
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', () => listening()));
  const address = server.address() as { port: number };
  const client = connect(`http://127.0.0.1:${address.port}`);
  client.on('error', () => undefined);
  for (const headers of requests)
    client.request({ [constants.HTTP2_HEADER_METHOD]: 'POST', ...headers }).on('error', () => undefined);
  const found = await promise;
  client.destroy();
  server.close();
  return found;
}

test('what Node encodes is decoded, the table with it, over many requests of one connection', async () => {
  const requests = Array.from({ length: 150 }, (_, index) => ({
    ':path': `/husk.agent.v1.Agent/Method${index % 7}`,
    te: 'trailers',
    'content-type': 'application/grpc',
    'user-agent': 'grpc-node-js/1.14',
    'grpc-timeout': `${(index * 7919) % 100_000}m`,
    [`x-${index % 13}`]: 'v'.repeat((index * 31) % 300),
    'x-all': printable.slice(index % 40),
  }));
  const blocks = await blocksOf(requests);
  const decoder = new HeaderDecoder();
  for (const [index, block] of blocks.entries()) {
    const headers = decoder.decode(block);
    for (const [name, value] of Object.entries(requests[index] ?? {})) assert.equal(headers.get(name), value);
  }
});

test('headers that are encoded here are read as they were given', () => {
  const headers = [
    [':status', '200'],
    ['grpc-message', 'm'.repeat(700)],
    ['x', ''],
  ] as const;
  assert.deepEqual(
    [...new HeaderDecoder().decode(encodeHeaders(headers))],
    headers.map((pair) => [...pair]),
  );
});

test('bytes that are no headers are refused, and none make the decoder do anything else', () => {
  assert.throws(
    () => new HeaderDecoder().decode(Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0x0f])),
    /beyond any reason/,
  );
  assert.throws(() => new HeaderDecoder().decode(Buffer.from([0xbe])), /no table has/);
  assert.throws(() => new HeaderDecoder().decode(Buffer.from([0x3f, 0xff, 0x3f])), /at most 4096/);
  assert.throws(() => new HeaderDecoder().decode(Buffer.from([0x00, 0x05, 0x61])), /cut off/);
  assert.throws(() => decodeHuffman(Buffer.from([0xff, 0xff, 0xff])), /longer than any|ends within/);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      try {
        new HeaderDecoder().decode(bytes);
      } catch (caught) {
        assert.match(String(caught), /decode HTTP\/2 headers/);
      }
    }),
    { numRuns: 5_000 },
  );
});
