import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseNodePolicy, readNodePolicy } from './node-policy.ts';

test('without a file, or without a word on native pods, all may run natively', async () => {
  for (const policy of [
    await readNodePolicy('/no/such/policy.toml'),
    parseNodePolicy(''),
    parseNodePolicy('[native]'),
  ]) {
    assert.equal(policy.refusal, undefined);
    assert.deepEqual([policy.namespaces, policy.serviceAccounts], [undefined, undefined]);
  }
});

test('a policy refuses all, or lists namespaces and service accounts', () => {
  assert.equal(parseNodePolicy('[native]\nallow = false').refusal, 'its policy file says so');
  const lists = parseNodePolicy(
    '[native]\nnamespaces = ["kube-system"]\nservice-accounts = ["shop/exporter"]\nservice-account-annotation = "example.org/account"',
  );
  assert.deepEqual(lists, {
    refusal: undefined,
    namespaces: ['kube-system'],
    serviceAccounts: ['shop/exporter'],
    serviceAccountAnnotation: 'example.org/account',
  });
});

for (const [words, content, message] of [
  ['an unknown key', '[native]\nallowed = true', /key "native\.allowed": no such key/],
  ['an unknown table', '[vm]\nallow = true', /key "vm": no such key/],
  ['a value of another type', '[native]\nallow = "no"', /"native\.allow"/],
  ['a service account without its namespace', '[native]\nservice-accounts = ["x"]', /"native\.service-accounts\[0\]"/],
  ['accounts without the annotation', '[native]\nservice-accounts = ["a/b"]', /service-account-annotation/],
] as const) {
  test(`${words} in the policy is refused, not skipped`, () => {
    assert.throws(() => parseNodePolicy(content), { kind: 'invalid-argument', message });
  });
}
