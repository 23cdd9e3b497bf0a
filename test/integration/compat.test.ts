/** A small part of `make compat`: some of its cases on native pods, so that table and probe stay runnable. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allCases } from '../compat/cases/all.ts';
import { exceptions } from '../compat/exceptions.ts';
import { unexplained } from '../compat/render.ts';
import { judge } from '../compat/verdicts.ts';

const some = [
  'supplemental groups, merged',
  'drop ALL, add CHOWN',
  'no new privileges, not root',
  'seccomp RuntimeDefault',
  'a masked file',
  'a terminal',
  'memory',
  'net.ipv4.ping_group_range = 0 2147483647',
];

test('containers of native pods see what runC’s see, but for the differences that are meant', async () => {
  const cases = allCases.filter(({ name }) => some.includes(name));
  assert.equal(cases.length, some.length);
  const verdicts = await judge(cases, ['native'], () => undefined, { flags: ['--template=false', '--accel=tcg'] });
  assert.equal([...verdicts.values()].filter(({ native }) => native?.kind === 'seen').length, some.length);
  assert.deepEqual(unexplained(verdicts, exceptions), []);
});
