/** husk-share: which mount a path becomes, and what the guest may remember of it. */
import assert from 'node:assert/strict';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { text, u32, u64 } from '../helpers/fields.ts';
import { type FuseClient, op, rootNode } from '../helpers/fuse-client.ts';
import { type SharedFolder, type ShareScene, share, shareScene } from '../helpers/share.ts';

let scene: ShareScene;
let data: string;
let subject: SharedFolder;
let client: FuseClient;
beforeEach(async () => {
  scene = await shareScene();
  ({ data, subject, client } = scene);
});
afterEach(() => scene[Symbol.asyncDispose]());

test('only what is the pod’s own may be cached, and all that is below it', async () => {
  mkdirSync(join(data, 'below'));
  writeFileSync(join(data, 'below/file'), 'x');
  for (const own of [true, false]) {
    const name = await subject.server.add(share(data, { own }));
    assert.equal(name, own ? 'p0' : 'd0');
    const folder = await client.walk(rootNode, name, 'below');
    const entry = await client.must(op.lookup, folder, text('file'));
    const node = entry.readBigUInt64LE(0);
    const opened = await client.must(op.open, node, u32(0), u32(0));
    const attributes = await client.must(op.getattr, node, u32(0), u32(0), u64(0));
    const [names, looks] = [entry.readBigUInt64LE(16), attributes.readBigUInt64LE(0)];
    const keepsPages = opened.readUInt32LE(8) & 2;
    assert.deepEqual([names, looks, keepsPages], own ? [10n, 10n, 2] : [0n, 0n, 0]);
  }
});

test('a folder that was removed and made again is shared anew', async () => {
  assert.equal(await subject.server.add(share(data)), 'd0');
  assert.equal(await subject.server.add(share(data)), 'd0', 'the same once more');
  // Kept by its name: an inode number that is free would be given to the new folder.
  renameSync(data, `${data}-before`);
  mkdirSync(data);
  writeFileSync(join(data, 'new'), '');
  const name = await subject.server.add(share(data));
  assert.deepEqual((await client.list(await client.walk(rootNode, name))).toSorted(), ['.', '..', 'new']);
});
