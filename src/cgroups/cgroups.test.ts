import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { newSandboxId } from '../base/ids.ts';
import { detectCgroups } from './cgroups.ts';

const unprivileged = process.getuid?.() !== 0 && 'needs root';

test('a pod cgroup is limited, emptied by force and removed; removing twice is fine', {
  skip: unprivileged,
}, async () => {
  const cgroups = await detectCgroups();
  const id = newSandboxId();
  const parent = `/husk-test-${process.pid}`;
  const paths = await cgroups.create(parent, id, { memoryBytes: 64 << 20, maxPids: 16 });
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  for (const path of paths) await writeFile(join(path, 'cgroup.procs'), String(child.pid));
  const gone = once(child, 'exit');
  await cgroups.remove(parent, id);
  assert.deepEqual(await gone, [null, 'SIGKILL']);
  assert.ok(paths.every((path) => !existsSync(path)));
  await cgroups.remove(parent, id);
  const { rmdir } = await import('node:fs/promises');
  for (const path of paths) await rmdir(join(path, '..'));
});

test('a host without cgroups is refused with the next step', async () => {
  await assert.rejects(detectCgroups('/nonexistent'), { kind: 'failed-precondition', hint: /mount cgroup2/ });
});
