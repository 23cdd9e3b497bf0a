import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKind } from '../../base/errors.ts';
import { KeyedMutex } from './keyed-mutex.ts';

const turn = (key: string, what = 'Work', waitMs = 10_000): { key: string; what: string; waitMs: number } => ({
  key,
  what,
  waitMs,
});

test('work of one key runs in the order it came, work of others beside it', async () => {
  const mutex = new KeyedMutex();
  const order: string[] = [];
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  const step = (name: string, wait?: Promise<void>) => async (): Promise<void> => {
    await wait;
    order.push(name);
  };
  const first = mutex.run(turn('a'), step('a1', gate));
  const second = mutex.run(turn('a'), step('a2'));
  const third = mutex.run(turn('a'), step('a3'));
  await mutex.run(turn('b'), step('b'));
  open();
  await Promise.all([first, second, third]);
  assert.deepEqual(order, ['b', 'a1', 'a2', 'a3']);
  assert.equal(mutex.size, 0);
});

test('who waits too long is told who is busy, and leaves the line', async () => {
  const mutex = new KeyedMutex();
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  const holder = mutex.run(turn('a', 'StopPodSandbox'), () => gate);
  const late = mutex.run(turn('a', 'CreateContainer', 1), async () => assert.fail('must not run'));
  await assert.rejects(late, (error) => isKind(error, 'deadline-exceeded') && /StopPodSandbox/.test(String(error)));
  const leaving = new AbortController();
  const cancelled = mutex.run({ ...turn('a'), signal: leaving.signal }, async () => assert.fail('must not run'));
  leaving.abort(new Error('gone'));
  await assert.rejects(cancelled, /gone/);
  await assert.rejects(
    mutex.run({ ...turn('b'), signal: leaving.signal }, async () => {}),
    /gone/,
  );
  open();
  await holder;
  assert.equal(mutex.size, 0);
});

test('work that fails gives its turn on', async () => {
  const mutex = new KeyedMutex();
  const failing = mutex.run(turn('a'), async () => Promise.reject(new Error('no')));
  const next = mutex.run(turn('a'), async () => 'ran');
  await assert.rejects(failing, /no/);
  assert.equal(await next, 'ran');
});
