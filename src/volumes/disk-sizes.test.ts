import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { DiskSizes } from './disk-sizes.ts';

test('a size is told when it is new; what fails is told once and tried again', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'husk-sizes-'));
  context.after(() => rmSync(folder, { recursive: true }));
  // /dev/null stands for a disk: 1:3.
  assert.equal(statSync('/dev/null').rdev, 0x103);
  mkdirSync(join(folder, '1:3'));
  const grow = (sectors: number): void => writeFileSync(join(folder, '1:3/size'), `${sectors}\n`);
  const told: string[] = [];
  let fail = false;
  const sizes = new DiskSizes(
    {
      changed: async (path, bytes, known) => {
        if (fail) throw new Error('not now');
        told.push(`${path} ${known} ${bytes}`);
      },
      failed: (path, caught) => told.push(`${path} ${String(caught)}`),
    },
    folder,
  );
  sizes.follow('/dev/null');
  grow(8);
  await sizes.look();
  await sizes.look();
  grow(0);
  await sizes.look();
  fail = true;
  grow(16);
  await sizes.look();
  await sizes.look();
  fail = false;
  await sizes.look();
  await sizes.close();
  await sizes.look();
  assert.deepEqual(told, ['/dev/null undefined 4096', '/dev/null Error: not now', '/dev/null 4096 8192']);
});
