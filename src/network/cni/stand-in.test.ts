import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseNetworkConfig } from './config.ts';
import { looksAtAddresses } from './stand-in.ts';

const looks = (...plugins: object[]): boolean =>
  looksAtAddresses(parseNetworkConfig(JSON.stringify({ cniVersion: '1.0.0', name: 'n', plugins })));

test('addresses are put back for DEL only where a plugin may look for them', () => {
  const portmap = { type: 'portmap', capabilities: { portMappings: true } };
  assert.equal(looks({ type: 'bridge', ipMasq: false }, portmap), false);
  assert.equal(looks({ type: 'ptp' }, { type: 'bandwidth' }), false);
  assert.equal(looks({ type: 'bridge', ipMasq: true }, portmap), true);
  assert.equal(looks({ type: 'bridge', ipMasq: 'true' }), true, 'what is no boolean is the plugin’s to understand');
  assert.equal(looks({ type: 'bridge' }, { type: 'somebody-elses' }), true);
});
