import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resolveConfig } from './config.ts';

test('without anything the defaults hold', () => {
  const config = resolveConfig({}, undefined);
  assert.equal(config.listen, 'unix:///run/husk/husk.sock');
  assert.equal(config.allowEmulation, false);
  assert.deepEqual(config.cniPluginDir, ['/opt/cni/bin', '/usr/lib/cni']);
});

test('a flag wins over the file, the file over the default', () => {
  const file = 'memory = 1024\ncpu = 2\nallow-emulation = true\ncni-plugin-dir = ["/a", "/b"]\n';
  const config = resolveConfig({ memory: '2048' }, file);
  assert.equal(config.memory, 2048);
  assert.equal(config.cpu, 2);
  assert.equal(config.allowEmulation, true);
  assert.deepEqual(config.cniPluginDir, ['/a', '/b']);
});

for (const [words, flags, file, message] of [
  ['a number out of range', { memory: '12' }, undefined, /--memory: "12": must be a whole number from 256/],
  ['a word that is no choice', { accel: 'xen' }, undefined, /--accel: "xen": must be one of auto, kvm, tcg/],
  ['an unknown key', {}, 'memroy = 1', /key "memroy": no such setting/],
  ['a table', {}, '[memory]\nx = 1', /key "memory": must be a text/],
  ['a file that is not TOML', {}, 'memory =', /config file: /],
] as const) {
  test(`${words} is refused by name`, () => {
    assert.throws(() => resolveConfig(flags, file), { kind: 'invalid-argument', message });
  });
}
