import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ExecCgroups } from './cgroup.ts';

test('an exec gets a cgroup that no other has; an empty one is used again, one with a process left is not', () => {
  const parent = mkdtempSync(join(tmpdir(), 'husk-cgroup-'));
  try {
    const cgroups = new ExecCgroups(parent);
    const [first, second] = [cgroups.take(), cgroups.take()];
    assert.deepEqual([first, second], [`${parent}/exec-1`, `${parent}/exec-2`]);
    // The kernel's file, which a folder of this file system lacks.
    writeFileSync(`${first}/cgroup.events`, 'populated 0\nfrozen 0\n');
    writeFileSync(`${second}/cgroup.events`, 'populated 1\nfrozen 0\n');
    for (const path of [first, second]) cgroups.give(path);
    assert.deepEqual([cgroups.take(), cgroups.take()], [first, `${parent}/exec-3`]);

    // Removed behind our back: made again.
    cgroups.give(first);
    rmSync(first, { recursive: true });
    assert.equal(cgroups.take(), first);
    assert.ok(existsSync(first));
    // What has no such file counts as in use.
    cgroups.give(first);
    assert.equal(cgroups.take(), `${parent}/exec-4`);
  } finally {
    rmSync(parent, { recursive: true });
  }
});
