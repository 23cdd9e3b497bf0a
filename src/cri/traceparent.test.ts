import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Metadata } from '@grpc/grpc-js';
import { remoteParent } from './traceparent.ts';

const [traceId, spanId] = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7'];

function parse(header: string): ReturnType<typeof remoteParent> {
  const metadata = new Metadata();
  metadata.set('traceparent', header);
  return remoteParent(metadata);
}

test('a valid header names the caller’s span', () => {
  assert.deepEqual(parse(`00-${traceId}-${spanId}-01`), { traceId, spanId, sampled: true });
  assert.deepEqual(parse(`00-${traceId}-${spanId}-00`), { traceId, spanId, sampled: false });
  assert.deepEqual(parse(`01-${traceId}-${spanId}-01-more`), { traceId, spanId, sampled: true }, 'a later version');
});

test('an invalid header is ignored', () => {
  assert.equal(remoteParent(new Metadata()), undefined);
  for (const header of [
    '',
    'x',
    `ff-${traceId}-${spanId}-01`,
    `00-${'0'.repeat(32)}-${spanId}-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    `00-${traceId.toUpperCase()}-${spanId}-01`,
    `00-${traceId}-${spanId}-01-more`,
  ]) {
    assert.equal(parse(header), undefined, header);
  }
});
