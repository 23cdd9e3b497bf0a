import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Slots } from './slots.ts';

test('so many run at a time, the others in the order in which they came', async () => {
  const slots = new Slots(2);
  const [ends, started] = [new Map<string, () => void>(), new Array<string>()];
  const work = (name: string) => async (): Promise<string> => {
    started.push(name);
    const { promise, resolve } = Promise.withResolvers<void>();
    ends.set(name, resolve);
    await promise;
    return name;
  };
  const runs = ['a', 'b', 'c', 'd'].map((name) => slots.run(work(name)));
  await setImmediate();
  assert.deepEqual(started, ['a', 'b']);
  ends.get('b')?.();
  await setImmediate();
  assert.deepEqual(started, ['a', 'b', 'c']);
  for (const name of ['a', 'c']) ends.get(name)?.();
  await setImmediate();
  ends.get('d')?.();
  assert.deepEqual(await Promise.all(runs), ['a', 'b', 'c', 'd']);
});

test('who gives up in the line keeps nobody from a slot, and a failure gives its slot back', async () => {
  const slots = new Slots(1);
  const { promise: held, reject: fail } = Promise.withResolvers<never>();
  const first = slots.run(() => held);
  const leaving = new AbortController();
  const second = slots.run(async () => 'second', leaving.signal);
  const third = slots.run(async () => 'third');
  leaving.abort(new Error('gave up'));
  await assert.rejects(second, /gave up/);
  fail(new Error('failed'));
  await assert.rejects(first, /failed/);
  assert.equal(await third, 'third');
  await assert.rejects(
    slots.run(async () => 'late', leaving.signal),
    /gave up/,
  );
});
