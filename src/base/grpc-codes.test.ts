/** The table against the names of grpc-js. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { grpcCode, kindOfGrpcCode } from './grpc-codes.ts';

test('each kind has the code of its name, and is told by it', () => {
  const seen = new Set<string>();
  for (const [name, code] of Object.entries(status)) {
    if (typeof code !== 'number') continue;
    const kind = kindOfGrpcCode(code);
    if (kind === 'unknown' || name === 'ABORTED') continue;
    assert.equal(kind.toUpperCase().replace('-', '_'), name);
    assert.equal(grpcCode(kind), code);
    seen.add(kind);
  }
  assert.equal(seen.size, 12);
  assert.equal(grpcCode('unknown'), status.UNKNOWN);
  assert.equal(kindOfGrpcCode(status.OK), 'unknown');
  assert.equal(kindOfGrpcCode(status.ABORTED), 'unavailable');
  assert.equal(kindOfGrpcCode(99), 'unknown');
});
