import assert from 'node:assert/strict';
import { test } from 'node:test';
import { instanceName } from './instance.ts';

test('the daemon on the default folder has the plain name', () => assert.equal(instanceName('/var/lib/husk/'), 'husk'));

test('daemons on other folders have names of their own, the same each time', () => {
  assert.match(instanceName('/srv/a'), /^husk-[0-9a-f]{6}$/);
  assert.equal(instanceName('/srv/a'), instanceName('/srv/b/../a'));
  assert.notEqual(instanceName('/srv/a'), instanceName('/srv/b'));
});
