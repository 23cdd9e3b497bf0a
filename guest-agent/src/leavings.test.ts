import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Leavings } from './leavings.ts';

function recorded(): { leavings: Leavings; lines: string[] } {
  const lines: string[] = [];
  const line =
    (level: string) =>
    (_fields: object, message: string): void =>
      void lines.push(`${level}: ${message}`);
  return { leavings: new Leavings({ warn: line('warn'), error: line('error') }, [1, 1]), lines };
}

test('what fails is told and tried again until it is done', async () => {
  const { leavings, lines } = recorded();
  let tries = 0;
  leavings.clear('a root', async () => {
    tries += 1;
    if (tries < 3) throw new Error('busy');
  });
  await leavings.settled();
  assert.equal(tries, 3);
  assert.deepEqual(lines, ['warn: not cleared away yet', 'warn: not cleared away yet']);
});

test('what cannot be done is given up with an error, and whoever waits goes on', async () => {
  const { leavings, lines } = recorded();
  let tries = 0;
  leavings.clear('a root', async () => {
    tries += 1;
    throw new Error('busy');
  });
  await leavings.settled();
  assert.equal(tries, 3);
  assert.equal(lines.at(-1), 'error: left until the pod ends');
});
