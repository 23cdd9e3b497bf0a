import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { pino } from 'pino';
import { logDestination } from './log-destination.ts';

test('a log on a full disk does not end the program, and what waits is bounded', () => {
  const full = openSync('/dev/full', 'w');
  const destination = logDestination(full);
  let dropped = 0;
  destination.on('drop', () => (dropped += 1));
  const log = pino({}, destination);
  for (let line = 0; line < 300; line += 1) log.info('x'.repeat(10_000));
  assert.ok(dropped > 150, `${dropped} lines dropped of 3 MB with room for 1 MiB`);
  closeSync(full);
});
