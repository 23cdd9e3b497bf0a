import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resolvConf } from './resolv-conf.ts';

const none = { servers: [], searches: [], options: [] };

test('the pod’s settings win', () => {
  const pod = { servers: ['10.0.0.10', 'fd00::a'], searches: ['ns.svc', 'svc'], options: ['ndots:5'] };
  assert.equal(
    resolvConf(pod, { ...none, servers: ['9.9.9.9'] }, 'host'),
    'search ns.svc svc\nnameserver 10.0.0.10\nnameserver fd00::a\noptions ndots:5\n',
  );
});

test('then the network’s, then the host’s', () => {
  assert.equal(resolvConf(none, { ...none, servers: ['9.9.9.9'] }, 'host\n'), 'nameserver 9.9.9.9\n');
  assert.equal(resolvConf(undefined, none, 'host\n'), 'host\n');
});
