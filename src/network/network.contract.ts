import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { newSandboxId } from '../base/ids.ts';
import type { Network, NetworkRequest } from './network.ts';

/** A request for a pod without port mappings. */
export function podRequest(network: Network, sandboxId: string, change: Partial<NetworkRequest> = {}): NetworkRequest {
  const netnsPath = network.namespacePath(sandboxId);
  return { sandboxId, netnsPath, podName: 'web', podNamespace: 'default', podUid: 'u-1', portMappings: [], ...change };
}

/** What every Network promises. `start` gives a network that is ready for use. */
export function networkContract(
  name: string,
  start: () => Promise<{ network: Network; stop: () => Promise<void> }>,
): void {
  describe(`network: ${name}`, () => {
    let network: Network;
    let stop = async (): Promise<void> => {};
    before(async () => {
      ({ network, stop } = await start());
    });
    after(() => stop());

    /** Runs a case with a pod's namespace, and takes everything away after it. */
    const withPod = async (use: (request: NetworkRequest) => Promise<void>): Promise<void> => {
      const request = podRequest(network, newSandboxId());
      assert.equal(await network.createNamespace(request.sandboxId), request.netnsPath);
      try {
        await use(request);
      } finally {
        await network.detach(request);
        await network.removeNamespace(request.sandboxId);
      }
    };

    it('is ready', async () => {
      assert.deepEqual(await network.status(), { ready: true, reason: '', message: '' });
    });

    it('refuses to create a namespace twice, and removes one that is not there', async () => {
      await withPod(async ({ sandboxId }) => {
        await assert.rejects(network.createNamespace(sandboxId), { kind: 'already-exists' });
        await network.removeNamespace(sandboxId);
        await network.removeNamespace(sandboxId);
        await network.createNamespace(sandboxId);
      });
    });

    it('gives each pod an interface with a MAC and an address of its own', async () => {
      await withPod(async (first) => {
        await withPod(async (second) => {
          const [one, two] = [await network.attach(first), await network.attach(second)];
          for (const each of [one, two]) {
            assert.equal(each.name, 'eth0');
            assert.match(each.mac, /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/);
            assert.match(each.addresses[0] ?? '', /^[0-9.]+\/\d+$/);
            assert.ok(each.mtu >= 576);
          }
          assert.notEqual(one.mac, two.mac);
          assert.notEqual(one.addresses[0], two.addresses[0]);
        });
      });
    });

    it('tells what the interfaces of each pod counted, and nothing of a pod that has none', async () => {
      await withPod(async (first) => {
        await withPod(async (second) => {
          await network.attach(first);
          const ids = [first.sandboxId, second.sandboxId, newSandboxId()];
          const [used, bare, gone] = await Promise.all(ids.map((id) => network.use(id)));
          assert.deepEqual(
            used?.map(({ name }) => name),
            ['eth0'],
          );
          assert.equal(typeof used?.[0]?.rxBytes, 'bigint');
          assert.deepEqual([bare, gone], [[], []]);
        });
      });
    });

    it('refuses to attach where there is no namespace', async () => {
      await assert.rejects(network.attach(podRequest(network, newSandboxId())), { kind: 'failed-precondition' });
    });

    it('refuses a pod name that could pass for further arguments, and detaches it all the same', async () => {
      await withPod(async (request) => {
        const named = { ...request, podName: 'web;K8S_POD_NAME=other' };
        await assert.rejects(network.attach(named), { kind: 'invalid-argument', message: /K8S_POD_NAME/ });
        await network.detach(named);
      });
    });

    it('detaches what was never attached, and what is detached already', async () => {
      await withPod(async (request) => {
        await network.detach(request);
        await network.attach(request);
        await network.detach(request);
        await network.detach(request);
      });
    });

    it('detaches a pod whose namespace is gone, and leaves none behind', async () => {
      await withPod(async (request) => {
        await network.attach(request);
        await network.removeNamespace(request.sandboxId);
        await network.detach(request);
        assert.equal(await network.createNamespace(request.sandboxId), request.netnsPath);
      });
    });

    it('does not attach for a caller that has gone', async () => {
      await withPod(async (request) => {
        await assert.rejects(network.attach(request, AbortSignal.abort()));
      });
    });

    it('takes a pod CIDR of one or two families, and refuses what is none', async () => {
      await network.setPodCidr('10.88.0.0/16');
      await network.setPodCidr('10.88.0.0/16,fd00:88::/64');
      for (const cidr of ['', '10.88.0.0', '10.88.0.0/33', 'cluster', '10.88.0.0/16;']) {
        await assert.rejects(network.setPodCidr(cidr), { kind: 'invalid-argument', message: /pod_cidr/ });
      }
    });
  });
}
