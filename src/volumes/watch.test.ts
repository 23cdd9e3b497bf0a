import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { watchTree } from './watch.ts';

test('a change is told once it is over; one that comes meanwhile is told again', async (context) => {
  const root = mkdtempSync(join(tmpdir(), 'watch-'));
  context.after(() => rmSync(root, { recursive: true }));
  let calls = 0;
  let running = 0;
  const { promise: twice, resolve } = Promise.withResolvers<void>();
  const watch = watchTree(
    root,
    async () => {
      running += 1;
      assert.equal(running, 1, 'two calls at once');
      calls += 1;
      if (calls === 1) writeFileSync(join(root, 'second'), '');
      if (calls === 2) resolve();
      await new Promise((done) => setTimeout(done, 50));
      running -= 1;
    },
    (caught) => assert.fail(String(caught)),
  );
  for (let index = 0; index < 10; index += 1) writeFileSync(join(root, String(index)), '');
  await twice;
  watch.close();
  assert.equal(calls, 2);
});

test('a path that cannot be watched is told and looked at all the same', () => {
  const failures: unknown[] = [];
  const watch = watchTree(
    '/nowhere/at/all',
    async () => undefined,
    (caught) => failures.push(caught),
  );
  watch.close();
  assert.equal(failures.length, 1);
});
