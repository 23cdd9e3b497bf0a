import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { type ErrorKind, errorKinds, HuskError } from '../base/errors.ts';
import { toGrpcFailure } from './errors.ts';
import { startFixture } from './fixture.ts';

const wanted: Readonly<Record<ErrorKind, number>> = {
  'invalid-argument': 3,
  'not-found': 5,
  'already-exists': 6,
  'failed-precondition': 9,
  'resource-exhausted': 8,
  'permission-denied': 7,
  unavailable: 14,
  unimplemented: 12,
  'deadline-exceeded': 4,
  cancelled: 1,
  'data-loss': 15,
  unknown: 2,
  internal: 13,
};

test('every kind of error reaches the client as its code, with the message', async () => {
  await using fixture = await startFixture();
  for (const kind of errorKinds) {
    fixture.images.pullError = new HuskError(kind, `pull "x": ${kind}`);
    // PullImage has its own word for one kind; see image.test.ts.
    const code = kind === 'unavailable' ? status.UNKNOWN : wanted[kind];
    const image = { image: 'x', annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' };
    await assert.rejects(
      fixture.call('pullImage', { image }),
      { code, details: new RegExp(`pull "x": ${kind}`) },
      kind,
    );
    assert.equal(toGrpcFailure(fixture.images.pullError).code, wanted[kind]);
  }
});

test('an error that is none of ours is Internal, and an abort is Cancelled', () => {
  assert.deepEqual(toGrpcFailure(new TypeError('x is no function')), { code: 13, details: 'x is no function' });
  assert.equal(toGrpcFailure(new DOMException('gone', 'AbortError')).code, 1);
  assert.equal(toGrpcFailure('text').code, 13);
});

test('the message is one line of bounded length, with stage and next step', () => {
  const error = new HuskError('internal', 'boot', {
    cause: new HuskError('internal', 'line\nbreak'),
    stage: 'clone',
    hint: 'ask again',
  });
  assert.equal(toGrpcFailure(error).details, 'stage clone: boot: line | break (next step: ask again)');
  assert.ok(toGrpcFailure(new HuskError('internal', 'x'.repeat(1_000_000))).details.length < 5000);
});
