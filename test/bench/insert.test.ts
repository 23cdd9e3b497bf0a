import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { insertReport } from './insert.ts';

test('a report takes the place of the one before, and nothing else changes', () => {
  const specification = readFileSync(join(import.meta.dirname, '../../SPECIFICATION.md'), 'utf8');
  const once = insertReport(specification, 'first');
  const twice = insertReport(once, 'second');
  assert.match(twice, /do not edit -->\n\nsecond\n\n<!-- end/);
  assert.doesNotMatch(twice, /\nfirst\n/);
  assert.equal(insertReport(twice, 'first'), once);
  assert.throws(() => insertReport('no marks', 'x'), /has no/);
});
