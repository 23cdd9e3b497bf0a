import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allCapabilities, capabilitySets, defaultCapabilities, resolveCapabilities } from './capabilities.ts';

test('without lists a container has the default set', () => {
  assert.deepEqual(new Set(resolveCapabilities([], [])), new Set(defaultCapabilities));
});

test('adding and dropping takes names with and without CAP_, in any case', () => {
  const names = resolveCapabilities(['net_admin', 'CAP_SYS_TIME'], ['Cap_Kill']);
  assert.ok(names.includes('CAP_NET_ADMIN'));
  assert.ok(names.includes('CAP_SYS_TIME'));
  assert.ok(!names.includes('CAP_KILL'));
});

test('ALL adds and drops everything, and single names count on top', () => {
  assert.deepEqual(resolveCapabilities(['ALL'], []), allCapabilities);
  assert.deepEqual(resolveCapabilities([], ['ALL']), []);
  assert.deepEqual(resolveCapabilities(['CHOWN'], ['ALL']), ['CAP_CHOWN']);
  assert.ok(!resolveCapabilities(['ALL'], ['SYS_ADMIN']).includes('CAP_SYS_ADMIN'));
});

test('an unknown capability is refused by name', () => {
  assert.throws(() => resolveCapabilities(['FLY'], []), {
    kind: 'invalid-argument',
    message: /add_capabilities "FLY"/,
  });
});

test('inheritable and ambient sets are empty unless asked for', () => {
  assert.deepEqual(capabilitySets(['CAP_CHOWN']).inheritable, []);
  assert.deepEqual(capabilitySets(['CAP_CHOWN'], ['CHOWN', 'KILL']).ambient, ['CAP_CHOWN']);
});
