import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { apply } from './rpc/update-container.ts';

/** A folder in place of a cgroup. */
function withCgroup(files: Readonly<Record<string, string>>, use: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'husk-cgroup-'));
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const files = { 'cpu.weight': '100\n', 'memory.max': 'max\n', 'memory.current': '4096\n' };

test('limits are set in order', () => {
  withCgroup(files, (folder) => {
    apply(folder, [
      { file: 'cpu.weight', value: '39' },
      { file: 'memory.max', value: '8192' },
    ]);
    assert.equal(readFileSync(join(folder, 'cpu.weight'), 'utf8'), '39');
    assert.equal(readFileSync(join(folder, 'memory.max'), 'utf8'), '8192');
  });
});

test('when one limit is refused, those before it are set back', () => {
  const refused = [
    [{ file: 'memory.max', value: '4095' }, /4096 bytes are in use/],
    [{ file: 'io.max', value: 'x' }, /refused by the kernel/],
    [{ file: 'cgroup.kill', value: '1' }, /no limit of a cgroup/],
    [{ file: 'cpu.weight/../../x', value: '1' }, /no limit of a cgroup/],
  ] as const;
  for (const [bad, message] of refused) {
    withCgroup(files, (folder) => {
      assert.throws(() => apply(folder, [{ file: 'cpu.weight', value: '39' }, bad]), { message });
      assert.equal(readFileSync(join(folder, 'cpu.weight'), 'utf8'), '100');
    });
  }
});
