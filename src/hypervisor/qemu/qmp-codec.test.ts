import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isKind } from '../../base/errors.ts';
import { decodeQmp, encodeQmp, printable } from './qmp-codec.ts';

test('the four kinds of message are told apart', () => {
  assert.deepEqual(decodeQmp('{"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7}},"capabilities":[]}}'), {
    kind: 'greeting',
    version: '7.2.22',
  });
  assert.deepEqual(decodeQmp('{"return":{},"id":4}'), { kind: 'return', id: 4, value: {} });
  assert.deepEqual(decodeQmp('{"error":{"class":"GenericError","desc":"no\\nway"},"id":5}'), {
    kind: 'error',
    id: 5,
    description: 'no?way',
  });
  assert.deepEqual(decodeQmp('{"event":"RESUME","timestamp":{}}'), { kind: 'event', name: 'RESUME', data: {} });
});

test('any line is a message or a data-loss error, never anything else', () => {
  const line = fc.oneof(
    fc.string(),
    fc.json(),
    fc.json().map((value) => `{"return":${value},"id":1}`),
  );
  fc.assert(
    fc.property(line, (text) => {
      try {
        assert.match(decodeQmp(text).kind, /^(greeting|return|error|event)$/);
      } catch (caught) {
        assert.ok(isKind(caught, 'data-loss'));
      }
    }),
  );
});

test('deep nesting does not overflow the stack', () => {
  const deep = `{"return":${'['.repeat(60_000)}${']'.repeat(60_000)},"id":1}`;
  assert.equal(decodeQmp(deep).kind, 'return');
});

test('a command is one line of JSON with its number', () => {
  fc.assert(
    fc.property(fc.nat(), fc.string(), (id, uri) => {
      const text = encodeQmp(id, { name: 'migrate-incoming', args: { uri } });
      assert.equal(text.indexOf('\n'), text.length - 1);
      assert.deepEqual(JSON.parse(text), { execute: 'migrate-incoming', arguments: { uri }, id });
    }),
  );
});

test('text of the guest has no control characters and an end', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 2000 }), (text) => /^[\x20-\x7e]{0,500}$/.test(printable(text))),
  );
});
