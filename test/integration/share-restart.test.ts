/** husk-share when its serving process dies: another goes on with what the guest has open. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { sleep } from '../../src/base/deadline.ts';
import { u32, u64 } from '../helpers/fields.ts';
import { type FuseClient, op, rootNode } from '../helpers/fuse-client.ts';
import {
  failed,
  restingProcess,
  type SharedFolder,
  type ShareScene,
  servingProcess,
  share,
  shareScene,
} from '../helpers/share.ts';

const inputOutputError = 5;
let scene: ShareScene;
let host: string;
let data: string;
let subject: SharedFolder;
let client: FuseClient;
let deaths: number;
beforeEach(async () => {
  deaths = 0;
  scene = await shareScene(() => (deaths += 1));
  ({ host, data, subject, client } = scene);
});
afterEach(() => scene[Symbol.asyncDispose]());

const serving = (): Promise<number> => servingProcess(subject.folder);

test('a server that dies is followed by one that knows its nodes, handles, locks and requests', async () => {
  writeFileSync(join(data, 'a'), 'content');
  await subject.server.add(share(data));
  const folder = await client.walk(rootNode, 'd0');
  const node = await client.walk(folder, 'a');
  const handle = await client.open(node, 2);
  await client.must(op.setlk, node, u64(handle), u64(1), u64(0), u64(0), u32(1), u32(0), u32(1), u32(0));
  const listing = (await client.must(op.opendir, folder, u32(0o200000), u32(0))).readBigUInt64LE(0);
  const first = await serving();
  process.kill(first, 'SIGSTOP');
  const early = client.read(handle, 0, 7);
  process.kill(first, 'SIGKILL');
  assert.equal((await early).toString(), 'content', 'what was asked of the first is answered by the second');
  assert.notEqual(await serving(), first);
  assert.equal(await client.write(handle, 7, Buffer.from('!')), 1);
  assert.equal(readFileSync(join(data, 'a'), 'utf8'), 'content!');
  assert.throws(() => execFileSync('flock', ['-n', join(data, 'a'), 'true']), 'the lock is still held');
  await client.must(op.readdir, folder, u64(listing), u64(0), u32(4096), u32(0), u64(0), u32(0), u32(0));
  assert.equal(await client.walk(folder, 'a'), node);
  assert.equal(deaths, 1);
});

test('a server that dies while its answers are not taken loses none: what it was about to say is said by the next', async () => {
  const content = Buffer.alloc(30_000, 'x');
  writeFileSync(join(data, 'a'), content);
  await subject.server.add(share(data));
  const handle = await client.open(await client.walk(rootNode, 'd0', 'a'), 2);
  client.pause();
  const reads = Array.from({ length: 500 }, () =>
    client.call(op.read, 0n, u64(handle), u64(0), u32(content.length), u32(0), u64(0), u32(0), u32(0)),
  );
  // More than the socket holds, so it rests in the middle of them.
  await sleep(500);
  process.kill(await restingProcess(subject.folder), 'SIGKILL');
  await sleep(200);
  client.resume();
  const answers = await Promise.all(reads);
  const lost = answers.filter((answer) => answer?.errno !== 0 || !answer.body.equals(content));
  assert.deepEqual(
    lost.map((answer) => answer?.errno).filter((errno) => errno !== inputOutputError),
    [],
  );
  assert.ok(lost.length <= 1, `${lost.length} requests failed`);
  assert.equal(deaths, 1);
});

test('a server that dies within a request answers it with EIO, and one that dies too often stays away', async () => {
  const disk = join(host, 'disk');
  execFileSync('truncate', ['-s', '8M', disk]);
  execFileSync('mkfs.ext4', ['-q', disk]);
  execFileSync('mount', ['-o', 'loop', disk, data]);
  try {
    await subject.server.add(share(data));
    const folder = await client.walk(rootNode, 'd0');
    const { handle } = await client.create(folder, 'a');
    execFileSync('fsfreeze', ['-f', data]);
    const stuck = client.write(handle, 0, Buffer.from('x'));
    await sleep(200);
    process.kill(await serving(), 'SIGKILL');
    execFileSync('fsfreeze', ['-u', data]);
    await assert.rejects(stuck, failed(inputOutputError));
    assert.equal(await client.write(handle, 0, Buffer.from('y')), 1);
    for (let count = 1; count < 8; count += 1) {
      process.kill(await restingProcess(subject.folder), 'SIGKILL');
      await client.must(op.statfs, folder);
    }
    process.kill(await restingProcess(subject.folder), 'SIGKILL');
    assert.equal(await subject.server.exited, 'exit code 137');
    assert.equal(deaths, 8);
  } finally {
    execFileSync('umount', ['-l', data]);
  }
});
