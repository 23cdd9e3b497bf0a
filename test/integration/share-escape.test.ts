/**
 * Attempts to leave a share: a raw client does what a guest's root could, while somebody else exchanges
 * names in the same folder, as another pod with the same volume could. 200 files and 10 mounts outside
 * must stay as they are. `HUSK_ESCAPE_OPERATIONS` sets the number of operations of each attack.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { type Canaries, makeCanaries } from '../helpers/canaries.ts';
import { text, u32, u64 } from '../helpers/fields.ts';
import { type FuseClient, op, rootNode } from '../helpers/fuse-client.ts';
import { type SharedFolder, startShare } from '../helpers/share.ts';

const operations = Number(process.env['HUSK_ESCAPE_OPERATIONS'] ?? '250');
const host = mkdtempSync(join(tmpdir(), 'husk-escape-'));
const data = join(host, 'data');
const outside = join(host, 'outside');
let canaries: Canaries;
let unharmed: string[];
let subject: SharedFolder;
let client: FuseClient;
let folder: bigint;

before(() => {
  mkdirSync(data);
  canaries = makeCanaries(outside);
  unharmed = canaries.state();
});
after(() => {
  canaries.remove();
  rmSync(host, { recursive: true, force: true });
});
beforeEach(async () => {
  subject = await startShare();
  client = subject.client;
  await client.start();
  await subject.server.add({ path: data, isFile: false, access: 'rw', hostToContainer: false });
  folder = await client.walk(rootNode, 'd0');
});
afterEach(async () => {
  await subject[Symbol.asyncDispose]();
  rmSync(data, { recursive: true, force: true });
  mkdirSync(data);
});

const noError = (): undefined => undefined;

/** Tries everything that changes a file, on whatever the names lead to. */
async function attack(names: readonly string[]): Promise<void> {
  const node = await client.walk(folder, ...names).catch(noError);
  if (node === undefined) return;
  await client.setattr(node, { valid: 0x3f, mode: 0o777, uid: 1, gid: 1, times: [1, 1] });
  await client.call(op.mkdir, node, u32(0o777), u32(0), text('made'));
  await client.call(op.unlink, node, text('canary1'));
  await client.call(op.rename, node, u64(folder), text('canary2'), text('stolen'));
  await client.call(op.link, folder, u64(node), text('linked'));
  await client.call(op.setxattr, node, u32(1), u32(0), text('user.x'), Buffer.from('1'));
  const handle = await client.open(node, 0o1002).catch(noError);
  if (handle !== undefined) {
    await client.write(handle, 0, Buffer.from('dead'));
    await client.call(op.fallocate, node, u64(handle), u64(0), u64(4096), u32(0), u32(0));
    await client.release(handle);
  }
  const made = await client.create(node, 'canary3', 0o666, 0o1102).catch(noError);
  if (made !== undefined) await client.release(made.handle);
  client.forget(node);
}

/** Somebody outside the guest who exchanges `name` as fast as it goes, until the work is done. */
async function while_(script: string, work: () => Promise<void>): Promise<void> {
  const racer = spawn('sh', ['-c', `cd "$1"; while :; do ${script}; done`, 'sh', data], {
    stdio: ['ignore', 'ignore', 'ignore'],
  });
  try {
    await work();
  } finally {
    racer.kill('SIGKILL');
  }
}

const repeat = async (work: (index: number) => Promise<void>): Promise<void> => {
  for (let index = 0; index < operations; index += 1) await work(index);
};

test('links that the guest makes, to the outside, absolute and relative', async () => {
  const targets = [
    outside,
    join(outside, 'canary0'),
    '../outside',
    '../../outside/canary0',
    '/proc/self/root',
    '/proc/1/root',
    '/',
  ];
  await repeat(async (index) => {
    const target = targets[index % targets.length] as string;
    await client.call(op.unlink, folder, text('l'));
    await client.call(op.symlink, folder, text('l'), text(target));
    await attack(['l']);
    await attack(['l', 'canary1']);
  });
  assert.deepEqual(canaries.state(), unharmed);
});

test('a folder that is exchanged for a link while it is used', async () => {
  const swap = `mkdir d; ln -sT ${outside} l; mv -T d x; mv -T l d; rm -f d; rmdir x`;
  await while_(swap, () =>
    repeat(async () => {
      await attack(['d']);
      await attack(['d', 'canary4']);
    }),
  );
  assert.deepEqual(canaries.state(), unharmed);
});

test('a file that is exchanged for a link, or for a hard link’s name, while it is used', async () => {
  const swap = `: > f; ln -sT ${outside}/canary5 l; mv -T l f; rm -f f; : > g; mv g f; rm -f f`;
  await while_(swap, () =>
    repeat(async () => {
      await attack(['f']);
      const made = await client.create(folder, 'f', 0o666, 0o1102).catch(noError);
      if (made === undefined) return;
      await client.write(made.handle, 0, Buffer.from('dead'));
      await client.release(made.handle);
      client.forget(made.node);
    }),
  );
  assert.deepEqual(canaries.state(), unharmed);
});

test('a folder that is moved out from under open files, and names that climb', async () => {
  mkdirSync(join(data, 'a/b'), { recursive: true });
  const names = ['..', '../..', '../outside', './..', `${outside}`, 'a/../../outside'];
  await while_('mv a/b c; mv c a/b', () =>
    repeat(async (index) => {
      const node = await client.walk(folder, 'a', 'b').catch(noError);
      for (const from of node === undefined ? [folder] : [folder, node]) {
        const name = names[index % names.length] as string;
        await client.call(op.rename, from, u64(folder), text('b'), text(name));
        await client.call(op.rmdir, from, text(name));
        await client.call(op.mkdir, from, u32(0o777), u32(0), text(name));
        await attack([name]);
        await attack(['a', 'b', '..', '..', '..', 'outside', 'canary6']);
      }
      if (node !== undefined) client.forget(node);
    }),
  );
  assert.deepEqual(canaries.state(), unharmed);
});
