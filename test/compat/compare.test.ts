import assert from 'node:assert/strict';
import { test } from 'node:test';
import { differences, exceptionFor } from './compare.ts';
import { parseFacts } from './probe.ts';

test('equal observations have no difference; changed, missing and new facts are one each', () => {
  const reference = new Map([
    ['a/x', '1'],
    ['a/y', '2'],
    ['a/z', '3'],
  ]);
  assert.deepEqual(differences(reference, new Map(reference)), []);
  const seen = new Map([
    ['a/x', '1'],
    ['a/y', '9'],
    ['b/n', '4'],
  ]);
  assert.deepEqual(differences(reference, seen), [
    { key: 'a/y', reference: '2', seen: '9' },
    { key: 'a/z', reference: '3', seen: undefined },
    { key: 'b/n', reference: undefined, seen: '4' },
  ]);
});

test('an exception counts for its runtime and its keys alone', () => {
  const difference = { key: 'mount//sys', reference: 'a', seen: 'b' };
  const exceptions = [{ runtime: 'vm', key: /^mount\/\/sys$/, reason: 'because' }] as const;
  assert.equal(exceptionFor(difference, 'vm', exceptions)?.reason, 'because');
  assert.equal(exceptionFor(difference, 'native', exceptions), undefined);
  assert.equal(exceptionFor({ ...difference, key: 'mount//system' }, 'vm', exceptions), undefined);
  assert.equal(exceptionFor(difference, 'vm', [{ ...exceptions[0], seen: /^a$/ }]), undefined);
});

test('facts are read from among other lines, values may hold the separator, and a torn probe is an error', () => {
  const facts = parseFacts('noise\n@@env|A|x|y\r\n@@status|Uid|0 0 0 0\n@@probe|done|yes\n');
  assert.deepEqual(
    [...facts],
    [
      ['env/A', 'x|y'],
      ['status/Uid', '0 0 0 0'],
    ],
  );
  assert.throws(() => parseFacts('@@env|A|x\n'), /did not end/);
});
