import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { Clock } from '../base/clock.ts';
import { TokenCache } from './token-cache.ts';

let nowMs: number;
let cache: TokenCache<number>;
const clock: Clock = { wallNs: () => 0n, monotonicMs: () => nowMs };

beforeEach(() => {
  nowMs = 0;
  cache = new TokenCache(clock);
});

test('a token gives its request once', () => {
  const token = cache.insert(7);
  assert.equal(cache.consume(token), 7);
  assert.equal(cache.consume(token), undefined);
});

test('a token is of 192 bits and no two are equal', () => {
  const tokens = new Set(Array.from({ length: 500 }, (_, index) => cache.insert(index)));
  assert.equal(tokens.size, 500);
  for (const token of tokens) assert.match(token, /^[A-Za-z0-9_-]{32}$/);
});

test('a token lives for a minute', () => {
  const early = cache.insert(1);
  const late = cache.insert(2);
  nowMs = 59_999;
  assert.equal(cache.consume(early), 1);
  nowMs = 60_000;
  assert.equal(cache.consume(late), undefined);
});

test('the thousand and first in flight is refused until one is used or too old', () => {
  const tokens = Array.from({ length: 1000 }, (_, index) => cache.insert(index));
  assert.throws(() => cache.insert(1), { kind: 'resource-exhausted' });
  cache.consume(tokens[0] as string);
  cache.insert(1);
  assert.throws(() => cache.insert(1), { kind: 'resource-exhausted' });
  nowMs = 60_000;
  cache.insert(1);
  assert.equal(cache.size, 1);
});
