/** What husk-share tells ahead of being asked, by a raw client: attributes of changed folders, content of small files. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { text, u32, u64 } from '../helpers/fields.ts';
import { type FuseClient, op, rootNode } from '../helpers/fuse-client.ts';
import { failed, type ShareScene, share, shareScene } from '../helpers/share.ts';

const kinds = { folder: 1001, content: 1002 } as const;
/** In attributes, behind the number of the node. */
const at = { inode: 24, mode: 84, links: 88 } as const;
const [readOnly, readWrite, truncate] = [0, 2, 0o1000];

let scene: ShareScene;
let data: string;
let client: FuseClient;
beforeEach(async () => {
  scene = await shareScene();
  ({ data, client } = scene);
});
afterEach(() => scene[Symbol.asyncDispose]());

/** What came since it was asked last. */
const told = (kind: keyof typeof kinds): Buffer[] =>
  client.notices.splice(0).flatMap((notice) => (notice.kind === kinds[kind] ? [notice.body] : []));

test('attributes of a folder go ahead of the answer of what changed it', async () => {
  mkdirSync(join(data, 'other'));
  await scene.subject.server.add(share(data));
  const folder = await client.walk(rootNode, 'd0');
  const other = await client.walk(folder, 'other');
  assert.deepEqual(told('folder'), []);
  await client.must(op.mkdir, folder, u32(0o755), u32(0), text('a'));
  const [one] = told('folder');
  assert.equal(one?.readBigUInt64LE(0), folder);
  assert.equal(one?.readBigUInt64LE(at.inode), BigInt(statSync(data).ino));
  assert.equal(one?.readUInt32LE(at.links), statSync(data).nlink);
  assert.equal(one?.readUInt32LE(at.mode), statSync(data).mode);
  await client.must(op.rename, folder, u64(other), text('a'), text('b'));
  assert.deepEqual(
    told('folder').map((body) => body.readBigUInt64LE(0)),
    [folder, other],
  );
  await assert.rejects(client.must(op.rmdir, folder, text('none')), failed(2));
  assert.deepEqual(told('folder'), [], 'nothing was changed');
});

test('the content of a small file goes ahead of the answer of its opening for reading', async () => {
  writeFileSync(join(data, 'small'), 'content');
  writeFileSync(join(data, 'most'), 'x'.repeat(4096));
  writeFileSync(join(data, 'large'), 'x'.repeat(4097));
  writeFileSync(join(data, 'empty'), '');
  chmodSync(join(data, 'small'), 0);
  await scene.subject.server.add(share(data));
  await scene.subject.server.add(share('/sys/kernel', { access: 'ro' }));
  const folder = await client.walk(rootNode, 'd0');
  const small = await client.walk(folder, 'small');
  const handle = await client.open(small, readOnly);
  const [one] = told('content');
  assert.equal(one?.readBigUInt64LE(0), small);
  assert.equal(one?.readBigUInt64LE(8), handle);
  assert.equal(one?.subarray(16).toString(), 'content');
  await client.open(await client.walk(folder, 'most'), readOnly);
  assert.equal(told('content')[0]?.length, 16 + 4096);
  for (const name of ['large', 'empty']) await client.open(await client.walk(folder, name), readOnly);
  await client.open(small, readWrite);
  // Files that are made as they are read: a look alone may have an effect.
  await client.open(await client.walk(rootNode, 'd1', 'uevent_seqnum'), readOnly);
  await client.open(small, readOnly + truncate);
  assert.deepEqual(told('content'), []);
});

test('of an own emptyDir content goes once until it is changed, since the guest keeps it', async () => {
  writeFileSync(join(data, 'a'), 'old');
  await scene.subject.server.add(share(data, { own: true }));
  const node = await client.walk(rootNode, 'p0', 'a');
  const opened = async (): Promise<string | undefined> => {
    await client.open(node, readOnly);
    return told('content')[0]?.subarray(16).toString();
  };
  assert.equal(await opened(), 'old');
  assert.equal(await opened(), undefined);
  const fields = [u64(await client.open(node, readWrite)), u64(0), u32(3), u32(0), u64(0), u32(0), u32(0)];
  await client.must(op.write, node, ...fields, Buffer.from('new'));
  assert.equal(await opened(), 'new');
  await client.must(op.open, node, u32(1 + truncate), u32(0));
  writeFileSync(join(data, 'a'), 'again');
  assert.equal(await opened(), 'again');
});
