/** husk-share with a client that breaks the protocol, and with a host that fails under it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { text, u16, u32, u64 } from '../helpers/fields.ts';
import { type FuseClient, op, rootNode } from '../helpers/fuse-client.ts';
import { failed, type SharedFolder, type ShareScene, share, shareScene } from '../helpers/share.ts';

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

const head = (size: number, code: number): Buffer =>
  Buffer.concat([u32(size), u32(code), u64(99), u64(1), u32(0), u32(0), u32(0), u16(0), u16(0)]);
const garbage: readonly (readonly [string, Buffer])[] = [
  ['a length below the head', head(39, op.statfs)],
  ['a length beyond the largest message', head(0x7fff_ffff, op.statfs)],
  ['a name that does not end', Buffer.concat([head(44, op.lookup), Buffer.from('abcd')])],
  ['a fixed part that is not there', head(40, op.read)],
  ['more than the request has', Buffer.concat([head(44, op.statfs), u32(0)])],
  ['two names of which one is there', Buffer.concat([head(42, op.symlink), text('a')])],
  [
    'a write that promises more than it brings',
    Buffer.concat([head(80, op.write), u64(0), u64(0), u32(1 << 19), u32(0), u64(0), u32(0), u32(0)]),
  ],
  [
    'a list to forget that is longer than it says',
    Buffer.concat([head(64, op.batchForget), u32(2), u32(0), u64(2), u64(1)]),
  ],
];
for (const [what, bytes] of garbage) {
  test(`a session with ${what} is ended`, async () => {
    assert.equal(await client.sendRaw(bytes), undefined);
    assert.equal(await subject.server.exited, 'exit code 1');
  });
}

/** The fixed part of each request in bytes, and how many names follow. */
const shapes: readonly (readonly [number, number, number])[] = [
  ...([
    [op.lookup, 0, 1],
    [op.getattr, 16, 0],
    [op.setattr, 88, 0],
    [op.readlink, 0, 0],
    [op.symlink, 0, 2],
  ] as const),
  ...([
    [op.mknod, 16, 1],
    [op.mkdir, 8, 1],
    [op.unlink, 0, 1],
    [op.rmdir, 0, 1],
    [op.rename, 8, 2],
  ] as const),
  ...([
    [op.rename2, 16, 2],
    [op.link, 8, 1],
    [op.open, 8, 0],
    [op.opendir, 8, 0],
    [op.create, 16, 1],
  ] as const),
  ...([
    [op.read, 40, 0],
    [op.readdir, 40, 0],
    [op.readdirplus, 40, 0],
    [op.release, 24, 0],
  ] as const),
  ...([
    [op.fsync, 16, 0],
    [op.statfs, 0, 0],
    [op.getxattr, 8, 1],
    [op.listxattr, 8, 0],
    [op.removexattr, 0, 1],
  ] as const),
  ...([
    [op.setlk, 48, 0],
    [op.fallocate, 32, 0],
    [op.lseek, 24, 0],
    [op.forget, 8, 0],
    [100, 16, 1],
  ] as const),
];

test('random requests are answered; nothing outside changes', { timeout: 60_000 }, async () => {
  writeFileSync(join(data, 'a'), 'x');
  writeFileSync(join(host, 'beside'), 'y');
  await subject.server.add(share(data));
  await client.walk(rootNode, 'd0', 'a');
  let seed = 7;
  const random = (below: number): number => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) % below;
  const names = ['a', 'b', 'd0', '..', '.', '', '../beside', 'x/y', 'user.a'];
  for (let count = 0; count < 2000; count += 1) {
    const [code, fixed, texts] = shapes[random(shapes.length)] as readonly [number, number, number];
    const body = Buffer.from(Array.from({ length: fixed }, () => (random(4) === 0 ? random(256) : 0)));
    const said = Array.from({ length: texts }, () => text(names[random(names.length)] as string));
    const { answer } = client.ask(code, BigInt(random(5)), body, ...said);
    if (code !== op.forget) assert.notEqual(await answer, undefined, `request ${code} ended the session`);
  }
  assert.deepEqual(readdirSync(host).toSorted(), ['beside', 'data']);
  assert.equal(readFileSync(join(host, 'beside'), 'utf8'), 'y');
});

test('a full disk is told as that, and what is removed on the host is gone, not hung', async () => {
  const [noEntry, noSpace] = [2, 28];
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', data]);
  try {
    await subject.server.add(share(data));
    const folder = await client.walk(rootNode, 'd0');
    const { node, handle } = await client.create(folder, 'big');
    await client.write(handle, 0, Buffer.alloc(32_768));
    assert.equal(await client.write(handle, 32_768, Buffer.alloc(65_536)), 32_768, 'as much as fits');
    await assert.rejects(client.write(handle, 65_536, Buffer.alloc(4_096)), failed(noSpace));
    const grown = client.must(op.fallocate, node, u64(handle), u64(0), u64(1 << 20), u32(0), u32(0));
    await assert.rejects(grown, failed(noSpace));
    await client.must(op.mkdir, folder, u32(0o755), u32(0), text('sub'));
    const sub = await client.walk(folder, 'sub');
    rmSync(join(data, 'sub'), { recursive: true });
    rmSync(join(data, 'big'));
    await assert.rejects(client.create(sub, 'late'), failed(noEntry));
    await assert.rejects(client.walk(folder, 'big'), failed(noEntry));
    assert.equal((await client.read(handle, 0, 10)).length, 10, 'what is open stays');
  } finally {
    execFileSync('umount', ['-l', data]);
  }
  const left = await client.list(await client.walk(rootNode, 'd0'));
  assert.deepEqual(left.toSorted(), ['.', '..'], 'the share holds the mount');
});
