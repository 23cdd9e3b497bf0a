import assert from 'node:assert/strict';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { copyOutput } from './copy-output.ts';

const blocks = Array.from({ length: 100 }, (_, index) => Buffer.alloc(16_384, index));
const output = (): Readable => Readable.from(blocks, { objectMode: false });

test('all of an output reaches the client, whose end stays open', async () => {
  const client = new PassThrough();
  const read = buffer(client);
  await copyOutput(output(), client);
  assert.equal(client.writableEnded, false);
  client.end('status');
  assert.deepEqual(await read, Buffer.concat([...blocks, Buffer.from('status')]));
});

test('a client that closes this output, or never had it, does not hold up the process', async () => {
  const client = new PassThrough();
  client.once('data', () => client.destroy());
  const from = output();
  await copyOutput(from, client);
  assert.ok(from.readableEnded);
  await copyOutput(output(), client);
  await copyOutput(output(), undefined);
});

test('an output that breaks is told', async () => {
  const broken = new PassThrough();
  broken.destroy(new Error('the link is gone'));
  await assert.rejects(copyOutput(broken, new PassThrough().resume()), /the link is gone/);
});
