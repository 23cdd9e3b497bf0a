import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HuskError } from '../../base/errors.ts';
import { expectedStreams, ResizeParser, statusText } from './protocol.ts';

const flags = [false, true];
for (const tty of flags) {
  for (const stdin of flags) {
    for (const stdout of flags) {
      for (const stderr of flags) {
        const wanted = { tty, stdin, stdout, stderr };
        test(`streams for ${JSON.stringify(wanted)}`, () => {
          const streams = expectedStreams(wanted, 4);
          assert.equal(streams.includes('error'), true);
          assert.equal(streams.includes('stdin'), stdin);
          assert.equal(streams.includes('stdout'), stdout);
          assert.equal(streams.includes('stderr'), stderr && !tty);
          assert.equal(streams.includes('resize'), tty);
          assert.equal(expectedStreams(wanted, 2).includes('resize'), false);
        });
      }
    }
  }
}

test('from version 4 on the end is a status object', () => {
  assert.deepEqual(JSON.parse(statusText({ exitCode: 0 }, 4)), { metadata: {}, status: 'Success' });
  assert.deepEqual(JSON.parse(statusText({ exitCode: 7 }, 5)).details.causes, [{ reason: 'ExitCode', message: '7' }]);
  const failure = JSON.parse(statusText({ error: new HuskError('not-found', 'no such container') }, 4));
  assert.equal(failure.reason, 'InternalError');
  assert.match(failure.message, /^Internal error occurred: no such container/);
});

test('before it is text, and silence is success', () => {
  assert.equal(statusText({ exitCode: 0 }, 3), '');
  assert.match(statusText({ exitCode: 7 }, 1), /exit status 7$/);
});

test('the latest size counts, however its bytes are cut', () => {
  const size = fc.record({ Width: fc.integer({ min: 1, max: 65_535 }), Height: fc.integer({ min: 1, max: 65_535 }) });
  fc.assert(
    fc.property(fc.array(size, { minLength: 1, maxLength: 20 }), fc.integer({ min: 1, max: 30 }), (sizes, step) => {
      const text = Buffer.from(sizes.map((each) => JSON.stringify(each)).join(''));
      const parser = new ResizeParser();
      let latest: unknown;
      for (let at = 0; at < text.length; at += step) latest = parser.push(text.subarray(at, at + step)) ?? latest;
      const last = sizes.at(-1);
      assert.deepEqual(latest, { width: last?.Width, height: last?.Height });
    }),
  );
});

test('the names in a size may be spelt as every reader of Go’s takes them', () => {
  assert.deepEqual(new ResizeParser().push(Buffer.from('{"height":24,"width":80}')), { width: 80, height: 24 });
  assert.equal(new ResizeParser().push(Buffer.from('{"height":24,"wide":80}')), undefined);
});

test('garbage between sizes is dropped and never piles up', () => {
  const parser = new ResizeParser();
  for (let round = 0; round < 1000; round += 1) assert.equal(parser.push(Buffer.alloc(10_000, 'x')), undefined);
  assert.equal(parser.push(Buffer.from('{"Width":-1,"Height":2}{"Width":"1"}')), undefined);
  assert.deepEqual(parser.push(Buffer.from('{"Width":80,"Height":24}')), { width: 80, height: 24 });
});
