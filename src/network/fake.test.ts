import assert from 'node:assert/strict';
import { it } from 'node:test';
import { HuskError } from '../base/errors.ts';
import { newSandboxId } from '../base/ids.ts';
import { FakeNetwork } from './fake.ts';
import { networkContract, podRequest } from './network.contract.ts';

networkContract('fake', async () => {
  const network = new FakeNetwork();
  return {
    network,
    stop: async () => {
      assert.deepEqual([network.namespaces.size, network.attached.size], [0, 0]);
    },
  };
});

it('a fake network fails once when it was told to', async () => {
  const network = new FakeNetwork();
  const id = newSandboxId();
  await network.createNamespace(id);
  network.failNext('attach', new HuskError('unavailable', 'no address is left'));
  await assert.rejects(network.attach(podRequest(network, id)), { kind: 'unavailable' });
  await network.attach(podRequest(network, id));
});
