import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turns } from './turns.ts';

const never = new AbortController().signal;
/** Lets all promises that can go on do so. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Work that says when it began, and ends when it is told. */
function works(turns: Turns, count: number, signal = never) {
  const begun: number[] = [];
  const ends = Array.from({ length: count }, () => Promise.withResolvers<void>());
  const all = ends.map(({ promise }, index) => turns.take(signal, () => (begun.push(index), promise)));
  return { begun, all, end: async (index: number) => (ends[index]?.resolve(), await all[index], await settled()) };
}

test('so many work at a time, in the order in which they came', async () => {
  const { begun, all, end } = works(new Turns(2), 5);
  await settled();
  assert.deepEqual(begun, [0, 1]);
  await end(1);
  assert.deepEqual(begun, [0, 1, 2]);
  await end(0);
  await end(2);
  assert.deepEqual(begun, [0, 1, 2, 3, 4]);
  await Promise.all([end(3), end(4), ...all]);
});

test('work that fails gives its turn on, and one who comes at that moment does not take it too', async () => {
  const turns = new Turns(1);
  const { promise, reject } = Promise.withResolvers<void>();
  const failing = turns.take(never, () => promise);
  const { begun, end } = works(turns, 2);
  const rejected = assert.rejects(failing, /broken/);
  reject(new Error('broken'));
  await rejected;
  const late = works(turns, 1);
  await settled();
  assert.deepEqual([begun, late.begun], [[0], []]);
  await end(0);
  await end(1);
  await late.end(0);
});

test('a turn that does not come is not waited for for ever, and the limit holds again afterwards', async () => {
  const turns = new Turns(1, 20);
  const { begun, end } = works(turns, 2);
  while (begun.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  await end(0);
  await end(1);
  const later = works(turns, 2);
  await settled();
  assert.deepEqual(later.begun, [0]);
  await later.end(0);
  await later.end(1);
});

test('whose caller has gone does not wait', async () => {
  const turns = new Turns(1);
  const first = works(turns, 1);
  const gone = new AbortController();
  const { begun, end } = works(turns, 1, gone.signal);
  await settled();
  assert.deepEqual(begun, []);
  gone.abort();
  await settled();
  assert.deepEqual(begun, [0]);
  await end(0);
  await first.end(0);
});

test('a turn that comes just as its caller goes is not lost', async () => {
  const turns = new Turns(1);
  const first = Promise.withResolvers<void>();
  const running = turns.take(never, () => first.promise);
  const gone = new AbortController();
  const second = turns.take(gone.signal, async () => undefined);
  await settled();
  first.resolve();
  gone.abort();
  await Promise.all([running, second]);
  const later = works(turns, 1);
  await settled();
  assert.deepEqual(later.begun, [0]);
  await later.end(0);
});
