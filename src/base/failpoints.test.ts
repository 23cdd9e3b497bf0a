import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noFailpoints, parseFailpoints } from './failpoints.ts';

test('nothing fails unless it is told to', async () => {
  assert.equal(parseFailpoints(undefined), noFailpoints);
  await parseFailpoints('run.vm=error').hit('run.network');
});

test('a place fails as often as it is told to', async () => {
  const points = parseFailpoints('run.vm=error*2;create.log=error');
  await assert.rejects(points.hit('run.vm'), { message: /"run.vm": told to fail/ });
  await assert.rejects(points.hit('run.vm'));
  await points.hit('run.vm');
  await assert.rejects(points.hit('create.log'));
});

for (const text of ['run.vm', 'run.vm=explode', '=error', 'run.vm=error*', 'Run=error']) {
  test(`"${text}" is refused`, () => assert.throws(() => parseFailpoints(text), { kind: 'invalid-argument' }));
}
