import assert from 'node:assert/strict';
import { test } from 'node:test';
import { timelineText } from './timeline.ts';

test('steps are listed in time with what each added', () => {
  const text = timelineText([
    { step: 'agent', atMs: 100 },
    { step: 'netns', atMs: 25 },
  ]);
  assert.equal(
    text,
    `netns       25.0 ms  +    25.0 ms  ${'▇'.repeat(10)}\nagent      100.0 ms  +    75.0 ms  ${' '.repeat(10)}${'▇'.repeat(30)}\n`,
  );
});

test('a pod without stamps says so', () => assert.equal(timelineText([]), 'no steps were recorded\n'));
