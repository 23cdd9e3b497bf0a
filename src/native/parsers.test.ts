import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { propagationTags } from './bind-mounts.ts';
import { splitDevice } from './devices.ts';
import { parseExitCode } from './exit-watcher.ts';
import { parseCapabilities, parseMaxOpenFiles } from './host-facts.ts';
import { parseMountPoints } from './mounts.ts';
import { parseNativeState } from './native-state.ts';
import { signalNumber } from './processes.ts';
import { readInRoot } from './read-in-root.ts';

const mountinfo = [
  '21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw',
  '22 21 0:21 / /run rw shared:5 - tmpfs tmpfs rw',
  '23 22 0:22 / /run/a\\040b rw master:5 - tmpfs tmpfs rw',
  '24 22 0:23 / /run/a\\040b rw - tmpfs over rw',
  '',
].join('\n');

test('mount points are read with their escapes undone', () => {
  assert.deepEqual(parseMountPoints(mountinfo), ['/', '/run', '/run/a b', '/run/a b']);
});

test('the propagation of a path is that of the mount it is on', () => {
  assert.deepEqual(propagationTags(mountinfo, '/etc/x'), ['shared:1']);
  assert.deepEqual(propagationTags(mountinfo, '/run/x'), ['shared:5']);
  assert.deepEqual(propagationTags(mountinfo, '/running'), ['shared:1']);
});

test('exit codes beyond a byte, and none, become 255', () => {
  assert.deepEqual(['0', '137\n', '-1', '', '256', 'x', '1e2'].map(parseExitCode), [0, 137, 255, 255, 255, 255, 255]);
});

test('the capabilities and limits of this process are read from /proc', () => {
  const status = 'Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t0000000000000401\nCapBnd:\tffffffffffffffff\n';
  assert.deepEqual([...parseCapabilities(status)], ['CAP_CHOWN', 'CAP_NET_BIND_SERVICE']);
  assert.deepEqual([...parseCapabilities('')], []);
  assert.equal(
    parseMaxOpenFiles('Max open files            1024                 20000                files\n'),
    20_000,
  );
  assert.equal(
    parseMaxOpenFiles('Max open files            1024                 unlimited            files\n'),
    Number.MAX_SAFE_INTEGER,
  );
});

test('signals of records have the numbers of glibc', () => {
  assert.deepEqual(['TERM', 'KILL', '15', 'RTMIN', 'RTMIN+3', 'RTMAX-1'].map(signalNumber), [15, 9, 15, 34, 37, 63]);
});

test('device numbers are split as glibc does', () => {
  assert.deepEqual(splitDevice(0x103), { major: 1, minor: 3 });
  assert.deepEqual(splitDevice(0xfe00), { major: 254, minor: 0 });
  assert.deepEqual(splitDevice(0x10_0801), { major: 8, minor: 257 });
});

test('a state of another shape is refused, none is none', () => {
  assert.equal(parseNativeState(null), undefined);
  assert.throws(() => parseNativeState({ kind: 'native' }), { kind: 'data-loss' });
});

test('links in an image lead to files of the image, never out of it', async (context) => {
  const folder = await mkdtemp(join(tmpdir(), 'husk-root-'));
  context.after(() => rm(folder, { recursive: true }));
  const root = join(folder, 'root');
  await mkdir(join(root, 'etc'), { recursive: true });
  await mkdir(join(root, 'store'));
  await writeFile(join(folder, 'secret'), 'out');
  await writeFile(join(root, 'store/passwd'), 'in');
  await writeFile(join(root, 'secret'), 'in too');
  const read = (path: string) => readInRoot(root, path, 100);
  await symlink('/store/passwd', join(root, 'etc/passwd'));
  assert.equal(await read('etc/passwd'), 'in');
  await symlink('../../../secret', join(root, 'etc/group'));
  assert.equal(await read('etc/group'), 'in too');
  await symlink(join(folder, 'secret'), join(root, 'etc/absolute'));
  assert.equal(await read('etc/absolute'), undefined);
  await symlink('loop', join(root, 'etc/loop'));
  assert.equal(await read('etc/loop'), undefined);
  assert.equal(await read('etc'), undefined);
  assert.equal(await readInRoot(root, 'store/passwd', 1), undefined);
});
