/** husk-share with a raw client in place of a guest's kernel: what is served, and what never is. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { isAlive, readIdentity } from '../../src/jail/process.ts';
import { ShareServer } from '../../src/volumes/share-server.ts';
import { text, u32, u64 } from '../helpers/fields.ts';
import { type FuseClient, op, rootNode } from '../helpers/fuse-client.ts';
import { failed, type SharedFolder, type ShareScene, servingProcess, share, shareScene } from '../helpers/share.ts';

const errno = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  ENXIO: 6,
  EAGAIN: 11,
  ENOTDIR: 20,
  EINVAL: 22,
  EROFS: 30,
  ENAMETOOLONG: 36,
};

let scene: ShareScene;
let host: string;
let data: string;
let subject: SharedFolder;
let client: FuseClient;
beforeEach(async () => {
  scene = await shareScene();
  ({ host, data, subject, client } = scene);
});
afterEach(() => scene[Symbol.asyncDispose]());

test('files are read, written, listed and owned as the guest says', async () => {
  writeFileSync(join(data, 'a'), 'hello');
  mkdirSync(join(data, 'sub'));
  symlinkSync('/etc/passwd', join(data, 'link'));
  assert.equal(await subject.server.add(share(data)), 'd0');
  assert.equal(await subject.server.add(share(data)), 'd0', 'again is the same');
  const folder = await client.walk(rootNode, 'd0');
  for (const request of [op.readdir, op.readdirplus])
    assert.deepEqual((await client.list(folder, request)).toSorted(), ['.', '..', 'a', 'link', 'sub']);
  const file = await client.open(await client.walk(folder, 'a'), 2);
  assert.equal((await client.read(file, 0, 100)).toString(), 'hello');
  assert.equal(await client.write(file, 5, Buffer.from(' there')), 6);
  assert.equal(readFileSync(join(data, 'a'), 'utf8'), 'hello there');
  Object.assign(client, { uid: 1000, gid: 2000 });
  const sub = await client.walk(folder, 'sub');
  await client.create(sub, 'mine', 0o640);
  client.gid = 3000;
  await client.must(op.mkdir, sub, u32(0o750), u32(0), text('dir'));
  client.gid = 4000;
  await client.must(op.symlink, sub, text('s'), text('../../out'));
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
  assert.equal((await client.must(op.readlink, await client.walk(folder, 'link'))).toString(), '/etc/passwd');
});

test('attributes, renames, links and extended attributes', async () => {
  writeFileSync(join(data, 'a'), '0123456789');
  await subject.server.add(share(data));
  const folder = await client.walk(rootNode, 'd0');
  const file = await client.walk(folder, 'a');
  const set = await client.setattr(file, { valid: 0x3f, mode: 0o600, uid: 7, gid: 8, size: 4, times: [1, 2] });
  assert.equal(set?.errno, 0);
  const stats = statSync(join(data, 'a'));
  assert.deepEqual([stats.mode & 0o7777, stats.uid, stats.gid, stats.size, stats.mtimeMs], [0o600, 7, 8, 4, 2000]);
  await client.must(op.link, folder, u64(file), text('b'));
  assert.equal(await client.walk(folder, 'b'), file, 'one file is one node');
  await client.must(op.rename, folder, u64(folder), text('b'), text('c'));
  assert.equal(statSync(join(data, 'c')).ino, stats.ino);
  await client.must(op.setxattr, file, u32(3), u32(0), text('user.husk'), Buffer.from('abc'));
  const value = await client.must(op.getxattr, file, u32(10), u32(0), text('user.husk'));
  assert.equal(value.toString(), 'abc');
  await client.must(op.unlink, folder, text('c'));
  assert.equal(existsSync(join(data, 'c')), false);
  const handle = await client.open(file, 0);
  await client.must(op.unlink, folder, text('a'));
  assert.equal((await client.read(handle, 0, 10)).toString(), '0123', 'what is open stays');
});

test('a lock is the host’s; one who waits gets it, or is interrupted', async () => {
  writeFileSync(join(data, 'a'), '');
  await subject.server.add(share(data));
  const file = await client.walk(rootNode, 'd0', 'a');
  const [one, two] = [await client.open(file, 2), await client.open(file, 2)];
  const lock = (handle: bigint, kind: number): Buffer[] => [
    ...[u64(handle), u64(1), u64(0), u64(0), u32(kind), u32(0), u32(1), u32(0)],
  ];
  const [exclusive, none] = [1, 2];
  await client.must(op.setlk, file, ...lock(one, exclusive));
  assert.equal((await client.call(op.setlk, file, ...lock(two, exclusive)))?.errno, errno.EAGAIN);
  const interrupted = client.ask(op.setlkw, file, ...lock(two, exclusive));
  void client.ask(op.interrupt, 0n, u64(interrupted.unique));
  assert.equal((await interrupted.answer)?.errno, errno.EINTR);
  const waiting = client.ask(op.setlkw, file, ...lock(two, exclusive));
  assert.equal((await client.read(one, 0, 1)).length, 0, 'others are served meanwhile');
  await client.must(op.setlk, file, ...lock(one, none));
  assert.equal((await waiting.answer)?.errno, 0);
  assert.throws(() => execFileSync('flock', ['-n', join(data, 'a'), 'true']));
});

test('a read-only share cannot be written by any request, though the same folder can be by another', async () => {
  writeFileSync(join(data, 'a'), 'x');
  writeFileSync(join(host, 'beside'), 'y');
  assert.equal(await subject.server.add(share(data)), 'd0');
  await client.walk(rootNode, 'd0', 'a');
  const folderName = await subject.server.add(share(data, { access: 'ro' }));
  const fileName = await subject.server.add(share(join(data, 'a'), { isFile: true, access: 'ro' }));
  assert.deepEqual([folderName, fileName], ['d1', 'f0']);
  const folder = await client.walk(rootNode, 'd1');
  const below = await client.walk(folder, 'a');
  const file = await client.walk(rootNode, 'f0');
  const attempts: (() => Promise<unknown>)[] = [
    () => client.open(below, 1),
    () => client.open(file, 2),
    () => client.open(below, 0o1000),
    () => client.create(folder, 'new'),
    () => client.create(folder, 'a', 0o644, 0o102),
    () => client.must(op.mkdir, folder, u32(0o755), u32(0), text('new')),
    () => client.must(op.unlink, folder, text('a')),
    () => client.must(op.rename, folder, u64(folder), text('a'), text('b')),
    () => client.must(op.link, folder, u64(below), text('b')),
    () => client.must(op.setxattr, below, u32(1), u32(0), text('user.x'), Buffer.from('1')),
  ];
  for (const attempt of attempts) await assert.rejects(attempt(), failed(errno.EROFS));
  for (const valid of [1, 2, 8, 0x10])
    assert.equal((await client.setattr(file, { valid }))?.errno, errno.EROFS, String(valid));
  await assert.rejects(client.create(rootNode, 'new'), failed(errno.EROFS));
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
      (await client.list(await client.walk(rootNode, name, where))).includes('inside');
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
  const folder = await client.walk(rootNode, 'd0');
  for (const name of ['..', '.', '', 'a/b', '/etc', '../x', 'x'.repeat(256)]) {
    const code = failed(name.length > 255 ? errno.ENAMETOOLONG : errno.EINVAL);
    await assert.rejects(client.walk(folder, name), code, name);
    await assert.rejects(client.must(op.mkdir, folder, u32(0o755), u32(0), text(name)), code, name);
    await assert.rejects(client.create(folder, name), code, name);
  }
  const out = await client.walk(folder, 'out');
  await assert.rejects(client.walk(out, 'passwd'), failed(errno.ENOTDIR));
  for (const name of ['out', 'fifo', 'null']) {
    const node = await client.walk(folder, name);
    await assert.rejects(client.open(node, 2), failed(errno.ENXIO), name);
    await assert.rejects(client.create(folder, name), failed(errno.ENXIO), name);
  }
  for (const type of [0o020000, 0o060000]) {
    const asked = client.must(op.mknod, folder, u32(type | 0o666), u32(0x103), u32(0), u32(0), text('dev'));
    await assert.rejects(asked, failed(errno.EPERM));
  }
  assert.deepEqual(readdirSync(data).toSorted(), ['fifo', 'null', 'out']);
});

test('what the guest forgets is given back, and what it never had is not found', async () => {
  for (let index = 0; index < 100; index += 1) writeFileSync(join(data, `f${index}`), '');
  await subject.server.add(share(data));
  const { pid } = JSON.parse(readFileSync(join(subject.folder, 'share.json'), 'utf8')) as { pid: number };
  const open = (): number => readdirSync(`/proc/${pid}/fd`).length;
  const folder = await client.walk(rootNode, 'd0');
  const before = open();
  const nodes: bigint[] = [];
  for (let index = 0; index < 100; index += 1) nodes.push(await client.walk(folder, `f${index}`));
  await client.walk(folder, 'f0');
  assert.equal(open() - before, 100);
  for (const node of nodes) client.forget(node);
  assert.equal((await client.call(op.getattr, nodes[0] as bigint, u32(0), u32(0), u64(0)))?.errno, 0, 'seen twice');
  assert.equal(open() - before, 1);
  for (const node of [nodes[1] as bigint, 0n, 70_000n, 2n ** 63n])
    assert.notEqual((await client.call(op.getattr, node, u32(0), u32(0), u64(0)))?.errno, 0);
  client.forget(rootNode, 1000);
  assert.deepEqual((await client.list(folder)).length, 102);
});

test('neither process has more than it needs', async () => {
  const state = JSON.parse(readFileSync(join(subject.folder, 'share.json'), 'utf8')) as { pid: number };
  // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID, SETUID
  const capabilities = ((1n << 0n) | (1n << 1n) | (1n << 3n) | (1n << 4n) | (1n << 6n) | (1n << 7n))
    .toString(16)
    .padStart(16, '0');
  const none = '0'.repeat(16);
  // The keeper parses nothing, and starts the other one: it has no filter of system calls.
  for (const [pid, filter] of [
    [state.pid, '0'],
    [await servingProcess(subject.folder), '2'],
  ] as const) {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const fields = ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp', 'Groups'];
    assert.deepEqual(
      fields.map((name) => new RegExp(`^${name}:\\t(.*)$`, 'm').exec(status)?.[1]?.trim()),
      [none, capabilities, capabilities, none, none, '1', filter, ''],
    );
  }
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
  await assert.rejects(subject.server.add(share(join(host, 'missing'))), /no such file/i);
  symlinkSync('/etc', join(host, 'link'));
  await assert.rejects(subject.server.add(share(join(host, 'link'))), /symbolic links/);
  execFileSync('mkfifo', [join(host, 'fifo')]);
  await assert.rejects(subject.server.add(share(join(host, 'fifo'), { isFile: true })), /neither a folder nor a file/);
  writeFileSync(join(host, 'one'), 'x');
  linkSync(join(host, 'one'), join(host, 'two'));
  const name = await subject.server.add(share(join(host, 'two'), { isFile: true }));
  assert.equal((await client.read(await client.open(await client.walk(rootNode, name), 0), 0, 9)).toString(), 'x');
});
