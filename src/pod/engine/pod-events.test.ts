import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PodEvent, PodEvents } from './pod-events.ts';

const event = (id: string): PodEvent => ({ kind: 'created', id, atNs: 1n, sandbox: undefined, containers: [] });

test('a listener hears what happens from then on, in order, until it is told to stop', async () => {
  const events = new PodEvents();
  events.tell(event('before'));
  const stop = new AbortController();
  const heard: string[] = [];
  const listening = (async () => {
    for await (const { id } of events.listen(stop.signal)) {
      heard.push(id);
      if (id === 'second') stop.abort();
    }
  })();
  await Promise.resolve();
  assert.equal(events.wanted, true);
  for (const id of ['first', 'second', 'third']) events.tell(event(id));
  await listening;
  assert.deepEqual(heard, ['first', 'second']);
  assert.equal(events.wanted, false);
});

test('a listener that waits ends when the signal fires', async () => {
  const events = new PodEvents();
  const stop = new AbortController();
  const next = events.listen(stop.signal).next();
  stop.abort();
  assert.deepEqual(await next, { done: true, value: undefined });
  assert.equal(events.wanted, false);
});

test('a listener that falls behind is told so, after what it could still be told; others hear all', async () => {
  const events = new PodEvents();
  const { signal } = new AbortController();
  const slow = events.listen(signal);
  const first = slow.next();
  events.tell(event('0'));
  assert.equal((await first).value?.id, '0');
  for (let n = 1; n <= 2_000; n += 1) events.tell(event(String(n)));
  let last = '';
  await assert.rejects(
    async () => {
      for await (const { id } of slow) last = id;
    },
    { kind: 'resource-exhausted', message: /wait to be read/ },
  );
  assert.equal(last, '1024');
  assert.equal(events.wanted, false);
});

test('more listeners than there may be are refused', async () => {
  const events = new PodEvents();
  const stop = new AbortController();
  const many = Array.from({ length: 32 }, () => events.listen(stop.signal).next());
  await assert.rejects(events.listen(stop.signal).next(), { kind: 'resource-exhausted' });
  stop.abort();
  await Promise.all(many);
});
