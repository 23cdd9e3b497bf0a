import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makePlan, sectionNames } from './plan.ts';

test('a plan has all sections unless some are named, in their own order', () => {
  assert.deepEqual(makePlan('full').sections, sectionNames);
  assert.deepEqual(makePlan('quick', 'pull,pods').sections, ['pods', 'pull']);
  assert.throws(() => makePlan('quick', 'pods,nothing'), /section "nothing": must be one of/);
});

test('numbers of a plan can be changed by name, and by nothing else', () => {
  const plan = makePlan('quick', '', 'samples=3,burst.pods=4');
  assert.deepEqual([plan.samples, plan.burst.pods], [3, 4]);
  assert.equal(makePlan('quick').samples, 6, 'the plan itself stays');
  for (const change of ['nothing=1', 'samples', 'samples=-1', 'burst=3', 'name=3']) {
    assert.throws(() => makePlan('quick', '', change), /must be a number of the plan/, change);
  }
});
