import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeAnswer, encodeBatch, op, requireDone, tryOp } from './sys-batch.ts';

test('a batch is its length and NUL-ended fields', () => {
  const bytes = encodeBatch([op('mkfifo', '/a'), tryOp('umount', '/b')]);
  assert.equal(bytes.readUInt32LE(0), bytes.length - 4);
  assert.equal(bytes.subarray(4).toString(), 'mkfifo\0/a\0-umount\0/b\0');
  assert.equal(encodeBatch([]).length, 4);
});

test('arguments that would change the batch are refused', () => {
  assert.throws(() => encodeBatch([op('hostname', 'a\0chdir\0/')]), { kind: 'invalid-argument' });
  assert.throws(() => encodeBatch([op('hostname')]), { kind: 'internal' });
  assert.throws(() => encodeBatch([op('write', '/a', '420', 'x'.repeat(9 * 1024 * 1024))]), {
    kind: 'resource-exhausted',
  });
});

test('an answer gives a result for each operation, and a failure that was not allowed throws', () => {
  const result = (status: string, text: string): Buffer => {
    const head = Buffer.alloc(5, status);
    head.writeUInt32LE(text.length, 1);
    return Buffer.concat([head, Buffer.from(text)]);
  };
  const results = decodeAnswer(Buffer.concat([result('e', '2 read "/x": no'), result('k', 'abc')]));
  assert.deepEqual(
    results.map(({ ok, bytes }) => [ok, bytes.toString()]),
    [
      [false, '2 read "/x": no'],
      [true, 'abc'],
    ],
  );
  const read = ['/x', 'y', '1'] as const;
  assert.equal(requireDone([tryOp('read', ...read), op('random', '3')], results).length, 2);
  assert.throws(
    () => requireDone([op('read', ...read), op('random', '3')], results.slice(0, 1)),
    /system call 2 read "\/x": no/,
  );
  assert.throws(() => requireDone([op('chdir', '/'), op('chdir', '/')], results.slice(1)), { kind: 'data-loss' });
});

test('no bytes crash the decoder', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        decodeAnswer(Buffer.from(bytes));
      } catch (caught) {
        assert.equal((caught as { kind?: string }).kind, 'data-loss');
      }
    }),
  );
});
