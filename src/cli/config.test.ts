import assert from 'node:assert/strict';
import { join } from 'node:path';
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

test('OCI runtimes by handler come from tables of the file or from one flag', () => {
  const native = '/usr/sbin/runc';
  assert.deepEqual(resolveConfig({}, undefined).runtimes, { native });
  const file = '[runtimes.native]\npath = "/opt/runc"\n[runtimes.native-crun]\npath = "/usr/bin/crun"\n';
  assert.deepEqual(resolveConfig({}, file).runtimes, { native: '/opt/runc', 'native-crun': '/usr/bin/crun' });
  const flag = { runtimes: 'native-youki=/opt/youki' };
  assert.deepEqual(resolveConfig(flag, file).runtimes, { native, 'native-youki': '/opt/youki' });
});

test('a relative folder is meant from where huskd is started', () => {
  const config = resolveConfig({ binDirectory: 'build/bin', cniPluginDir: 'a,/b' }, undefined);
  assert.equal(config.binDirectory, join(process.cwd(), 'build/bin'));
  assert.deepEqual(config.cniPluginDir, [join(process.cwd(), 'a'), '/b']);
});

test('a state directory in which sockets fit their addresses is taken, a longer one is refused by its length', () => {
  const longest = `/run/${'x'.repeat(21)}`;
  assert.equal(resolveConfig({ stateDirectory: longest }, undefined).stateDirectory, longest);
  assert.throws(() => resolveConfig({ stateDirectory: `${longest}x` }, undefined), {
    kind: 'invalid-argument',
    message: /state-directory.*has 27 bytes; .* more than 26/,
  });
});

for (const [words, flags, file, message] of [
  [
    'a runtime of no native handler',
    { runtimes: 'kata=/usr/bin/kata' },
    undefined,
    /--runtimes: "kata=\/usr\/bin\/kata"/,
  ],
  ['a runtime without a path', {}, '[runtimes.native]\nname = "runc"', /key "runtimes\.native": must hold "path"/],
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
