import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from './budget.ts';

test('an allowance is used up, and fills again with time up to its cap', () => {
  let ms = 0;
  const budget = new Budget({ wallNs: () => 0n, monotonicMs: () => ms }, 100, 10);
  assert.equal(budget.spend(100), true);
  assert.equal(budget.waitMs(), 0);
  assert.equal(budget.spend(5), false);
  assert.equal(budget.waitMs(), 500);
  ms = 1_000;
  assert.equal(budget.spend(5), true);
  ms = 1_000_000;
  assert.equal(budget.spend(101), false);
  assert.equal(budget.spend(-1_000), true);
  assert.equal(budget.spend(101), false);
});
