import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitForCalm } from './calm.ts';

const wish = (signal = new AbortController().signal, longestMs = 10_000) => ({
  ...{ mostLoad: 1, longestMs, signal, say: () => {} },
});

test('a load that is going down is waited for, one that is low is not', async () => {
  const loads = [1.5, 1.2, 0.9, 0.1];
  assert.equal(await waitForCalm(wish(), () => loads.shift() ?? 0, 1), 0.9);
  assert.equal(await waitForCalm(wish(), () => 0.4, 60_000), 0.4);
});

test('a load that stays is told after a while', async () => {
  assert.equal(await waitForCalm(wish(undefined, 20), () => 1.5, 5), 1.5);
});

test('the wait ends with the run', async () => {
  const interrupted = new AbortController();
  const waiting = waitForCalm(wish(interrupted.signal), () => 1.5, 60_000);
  interrupted.abort(new Error('ended'));
  await assert.rejects(waiting, { kind: 'cancelled' });
});
