/** husk-share with a raw client in place of a guest's kernel: what is served, and what never is. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { isAlive, readIdentity } from '../../src/jail/process.ts';
import type { Share } from '../../src/volumes/share-server.ts';
import { ShareServer } from '../../src/volumes/share-server.ts';
import { type NineP, t, text, u8, u16, u32, u64 } from '../helpers/nine-p.ts';
import { type SharedFolder, startShare } from '../helpers/share.ts';

const errno = { EPERM: 1, ENOENT: 2, ENXIO: 6, EBADF: 9, EEXIST: 17, ENOTDIR: 20, EINVAL: 22, EROFS: 30, ELOOP: 40 };
const share = (path: string, more: Partial<Share> = {}): Share => ({
  path,
  isFile: false,
  access: 'rw',
  hostToContainer: false,
  ...more,
});
const failed = (code: number) => (caught: unknown) => (caught as { errno?: number }).errno === code;

let host: string;
let data: string;
let subject: SharedFolder;
let root: number;
let client: NineP;
beforeEach(async () => {
  host = mkdtempSync(join(tmpdir(), 'husk-host-'));
  data = join(host, 'data');
  mkdirSync(data);
  subject = await startShare();
  client = subject.client;
  root = await client.start();
});
afterEach(async () => {
  await subject[Symbol.asyncDispose]();
  execFileSync('sh', ['-c', 'umount -l "$1"/data/*/ 2>/dev/null; true', 'sh', host]);
  rmSync(host, { recursive: true, force: true });
});

test('files are read, written, listed and owned as the guest says', async () => {
  writeFileSync(join(data, 'a'), 'hello');
  mkdirSync(join(data, 'sub'));
  symlinkSync('/etc/passwd', join(data, 'link'));
  assert.equal(await subject.server.add(share(data)), 'd0');
  assert.equal(await subject.server.add(share(data)), 'd0', 'again is the same');
  assert.deepEqual((await client.list(root, 'd0')).toSorted(), ['.', '..', 'a', 'link', 'sub']);
  const file = await client.open(root, ['d0', 'a'], 2);
  assert.equal((await client.read(file, 0, 100)).toString(), 'hello');
  await client.write(file, 5, Buffer.from(' there'));
  assert.equal(readFileSync(join(data, 'a'), 'utf8'), 'hello there');
  const user = await client.attach(1000);
  const folder = await client.walk(user, 'd0', 'sub');
  await client.create(folder, 'mine', { mode: 0o640, gid: 2000 });
  await client.must(t.mkdir, u32(folder), text('dir'), u32(0o750), u32(3000));
  await client.must(t.symlink, u32(folder), text('s'), text('../../out'), u32(4000));
  const owner = (name: string): number[] => [
    lstatSync(join(data, 'sub', name)).uid,
    lstatSync(join(data, 'sub', name)).gid,
  ];
  assert.deepEqual(
    [owner('mine'), owner('dir'), owner('s')],
    [
      [1000, 2000],
      [1000, 3000],
      [1000, 4000],
    ],
  );
  assert.equal(readlinkSync(join(data, 'sub/s')), '../../out');
  const link = await client.must(t.readlink, u32(await client.walk(root, 'd0', 'link')));
  assert.equal(link.subarray(2).toString(), '/etc/passwd');
});

test('attributes, renames, links, extended attributes and locks', async () => {
  writeFileSync(join(data, 'a'), '0123456789');
  await subject.server.add(share(data));
  const folder = await client.walk(root, 'd0');
  const file = await client.walk(root, 'd0', 'a');
  const times = [u64(1), u64(0), u64(2), u64(0)];
  await client.must(t.setattr, u32(file), u32(0x1ff), u32(0o600), u32(7), u32(8), u64(4), ...times);
  const stats = statSync(join(data, 'a'));
  assert.deepEqual([stats.mode & 0o7777, stats.uid, stats.gid, stats.size, stats.mtimeMs], [0o600, 7, 8, 4, 2000]);
  await client.must(t.link, u32(folder), u32(file), text('b'));
  await client.must(t.renameat, u32(folder), text('b'), u32(folder), text('c'));
  assert.equal(statSync(join(data, 'c')).ino, stats.ino);
  const value = await client.walk(file);
  await client.must(t.xattrcreate, u32(value), text('user.husk'), u64(3), u32(0));
  await client.write(value, 0, Buffer.from('abc'));
  await client.clunk(value);
  const back = client.fid();
  assert.equal((await client.must(t.xattrwalk, u32(file), u32(back), text('user.husk'))).readUInt32LE(0), 3);
  assert.equal((await client.read(back, 0, 10)).toString(), 'abc');
  const lock = async (fid: number, type: number): Promise<number> =>
    (await client.must(t.lock, u32(fid), u8(type), u32(0), u64(0), u64(0), u32(1), text('x'))).readUInt8(0);
  const [one, two] = [await client.open(root, ['d0', 'a'], 2), await client.open(root, ['d0', 'a'], 2)];
  assert.deepEqual([await lock(one, 1), await lock(two, 1), await lock(one, 2), await lock(two, 1)], [0, 1, 0, 0]);
  await client.must(t.unlinkat, u32(folder), text('c'), u32(0));
  assert.equal(existsSync(join(data, 'c')), false);
});

test('a read-only share cannot be written by any message; a file is shared alone', async () => {
  writeFileSync(join(data, 'a'), 'x');
  writeFileSync(join(host, 'beside'), 'y');
  const folderName = await subject.server.add(share(data, { access: 'ro' }));
  const fileName = await subject.server.add(share(join(data, 'a'), { isFile: true, access: 'ro' }));
  assert.deepEqual([folderName, fileName], ['d0', 'f0']);
  const folder = await client.walk(root, 'd0');
  const file = await client.walk(root, 'f0');
  const attempts: (() => Promise<unknown>)[] = [
    () => client.open(root, ['d0', 'a'], 1),
    () => client.open(root, ['f0'], 2),
    () => client.open(root, ['d0', 'a'], 0o1000),
    () => client.create(folder, 'new'),
    () => client.must(t.mkdir, u32(folder), text('new'), u32(0o755), u32(0)),
    () => client.must(t.unlinkat, u32(folder), text('a'), u32(0)),
    () => client.must(t.renameat, u32(folder), text('a'), u32(folder), text('b')),
    () => client.must(t.setattr, u32(file), u32(1), u32(0), u32(0), u32(0), u64(0), u64(0), u64(0), u64(0), u64(0)),
  ];
  for (const attempt of attempts) await assert.rejects(attempt(), failed(errno.EROFS));
  await assert.rejects(client.create(root, 'new'), failed(errno.EROFS));
  assert.deepEqual(readdirSync(data), ['a']);
});

test('mounts below are shown: later ones where HOST_TO_CONTAINER asks for it', async () => {
  mkdirSync(join(data, 'early'));
  mkdirSync(join(data, 'late'));
  const mount = (name: string): void => {
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', join(data, name)]);
    writeFileSync(join(data, name, 'inside'), '');
  };
  execFileSync('mount', ['--bind', data, data]);
  execFileSync('mount', ['--make-shared', data]);
  try {
    mount('early');
    await subject.server.add(share(data));
    await subject.server.add(share(data, { hostToContainer: true }));
    mount('late');
    const seen = async (name: string, where: string): Promise<boolean> =>
      (await client.list(root, name, where)).includes('inside');
    assert.deepEqual([await seen('d0', 'early'), await seen('d0', 'late')], [true, false]);
    assert.deepEqual([await seen('d1', 'early'), await seen('d1', 'late')], [true, true]);
  } finally {
    for (const path of [join(data, 'late'), join(data, 'early'), data]) execFileSync('umount', ['-l', path]);
  }
});

test('no name leads out, no device is made or opened, no fifo blocks', { timeout: 20_000 }, async () => {
  symlinkSync('/etc', join(data, 'out'));
  execFileSync('mkfifo', [join(data, 'fifo')]);
  execFileSync('mknod', [join(data, 'null'), 'c', '1', '3']);
  await subject.server.add(share(data));
  const folder = await client.walk(root, 'd0');
  for (const name of ['..', '.', '', 'a/b', '/etc', '../x', 'nul\0x', 'x'.repeat(256)]) {
    await assert.rejects(client.walk(folder, name), failed(errno.ENOENT), name);
    for (const type of [t.mkdir, t.lcreate]) {
      const fields = type === t.mkdir ? [u32(0o755), u32(0)] : [u32(0o102), u32(0o644), u32(0)];
      assert.equal((await client.call(type, u32(folder), text(name), ...fields))?.errno, errno.EINVAL, name);
    }
  }
  await assert.rejects(client.walk(folder, 'out', 'passwd'), failed(errno.ENOENT));
  assert.equal((await client.call(t.lopen, u32(await client.walk(folder, 'out')), u32(0)))?.errno, errno.ENXIO);
  for (const name of ['fifo', 'null']) {
    const fid = await client.walk(folder, name);
    assert.equal((await client.call(t.lopen, u32(fid), u32(2)))?.errno, errno.ENXIO, name);
    assert.equal(
      (await client.call(t.lcreate, u32(folder), text(name), u32(0o102), u32(0o644), u32(0)))?.errno,
      errno.ENXIO,
      name,
    );
  }
  for (const type of [0o020000, 0o060000]) {
    const asked = [u32(folder), text('dev'), u32(type | 0o666), u32(8), u32(0), u32(0)];
    assert.equal((await client.call(t.mknod, ...asked))?.errno, errno.EPERM);
  }
  assert.deepEqual(readdirSync(data).toSorted(), ['fifo', 'null', 'out']);
});

test('the process has no more than it needs', async () => {
  const state = JSON.parse(readFileSync(join(subject.folder, 'share.json'), 'utf8')) as { pid: number };
  const status = Object.fromEntries(
    readFileSync(`/proc/${state.pid}/status`, 'utf8')
      .split('\n')
      .map((line) => line.split(':\t') as [string, string]),
  );
  // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID, SETUID
  const capabilities = ((1n << 0n) | (1n << 1n) | (1n << 3n) | (1n << 4n) | (1n << 6n) | (1n << 7n))
    .toString(16)
    .padStart(16, '0');
  assert.deepEqual(
    ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp', 'Groups'].map((key) =>
      status[key]?.trim(),
    ),
    ['0000000000000000', capabilities, capabilities, '0000000000000000', '0000000000000000', '1', '2', ''],
  );
  const namespaces = (pid: number | 'self'): string[] =>
    ['mnt', 'net', 'ipc', 'uts', 'pid'].map((name) => readlinkSync(`/proc/${pid}/ns/${name}`));
  const own = namespaces('self');
  assert.ok(namespaces(state.pid).every((name, index) => name !== own[index]));
  const mounts = readFileSync(`/proc/${state.pid}/mountinfo`, 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(' ')[4]);
  assert.deepEqual(mounts, ['/', '/proc']);
});

const garbage: readonly (readonly [string, Buffer])[] = [
  ['a length below the head', Buffer.from([3, 0, 0, 0, 100, 0, 0])],
  ['a length beyond the largest message', Buffer.from([0xff, 0xff, 0xff, 0x7f, 100, 0, 0])],
  [
    'a text longer than its message',
    Buffer.concat([
      u32(15).bytes,
      u8(t.version).bytes,
      u16(0).bytes,
      u32(8192).bytes,
      u16(9000).bytes,
      Buffer.alloc(2),
    ]),
  ],
  [
    'a write that promises more than it brings',
    Buffer.concat([u32(23).bytes, u8(t.write).bytes, u16(0).bytes, u32(1).bytes, u64(0).bytes, u32(1 << 19).bytes]),
  ],
];
for (const [what, bytes] of garbage) {
  test(`a session with ${what} is ended`, async () => {
    if (what.includes('write')) bytes.writeUInt32LE(root, 7);
    assert.equal(await client.send(bytes), undefined);
    assert.match(await subject.server.exited, /^exit code [12]$/);
  });
}

test('random messages are answered or end the session; nothing outside changes', async () => {
  writeFileSync(join(data, 'a'), 'x');
  await subject.server.add(share(data));
  let seed = 7;
  const random = (below: number): number => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) % below;
  const types = Object.values(t);
  for (let count = 0; count < 300; count += 1) {
    const body = Buffer.from(Array.from({ length: random(60) }, () => (random(3) === 0 ? random(256) : 0)));
    const type = random(10) === 0 ? random(256) : (types[random(types.length)] as number);
    if (type === t.version) continue;
    const head = Buffer.concat([u32(7 + body.length).bytes, u8(type).bytes, u16(1).bytes]);
    if ((await client.send(Buffer.concat([head, body]))) !== undefined) continue;
    await subject[Symbol.asyncDispose]();
    subject = await startShare();
    client = subject.client;
    root = await client.start();
    await subject.server.add(share(data));
  }
});

test('a daemon that comes back finds the server; one that died is lost; the end leaves nothing', async () => {
  await subject.server.add(share(data));
  const { folder } = subject;
  const { pid } = JSON.parse(readFileSync(join(folder, 'share.json'), 'utf8')) as { pid: number };
  const spec = { program: '', socket: '', stateFolder: folder, cgroupPaths: [] };
  const found = await ShareServer.find(spec);
  assert.ok(found instanceof ShareServer);
  assert.equal(await found.add(share(data)), 'd0');
  const identity = readIdentity(pid);
  process.kill(pid, 'SIGKILL');
  assert.equal(await subject.server.exited, 'exit code 137');
  assert.equal(await ShareServer.find(spec), 'lost');
  assert.equal(identity !== undefined && isAlive(identity), false);
  await ShareServer.end(folder);
  await ShareServer.end(folder);
  assert.equal(await ShareServer.find(spec), undefined);
});

test('what is not there, or is a link, is not shared; a hard link is a file like any other', async () => {
  await assert.rejects(subject.server.add(share(join(host, 'missing'))), /No such file/);
  symlinkSync('/etc', join(host, 'link'));
  await assert.rejects(subject.server.add(share(join(host, 'link'))), /symbolic links/);
  execFileSync('mkfifo', [join(host, 'fifo')]);
  await assert.rejects(subject.server.add(share(join(host, 'fifo'), { isFile: true })), /neither a folder nor a file/);
  writeFileSync(join(host, 'one'), 'x');
  linkSync(join(host, 'one'), join(host, 'two'));
  const name = await subject.server.add(share(join(host, 'two'), { isFile: true }));
  assert.equal((await client.read(await client.open(root, [name], 0), 0, 9)).toString(), 'x');
});
