/** `--network none`: a pod whose only interface that leads anywhere is loopback. */
import { randomBytes } from 'node:crypto';
import type { Network, PodInterface } from '../../network/network.ts';

const mtu = 1500;

/** The network with namespaces as ever, in which no plugin works. What a VM sends on its interface reaches nobody. */
export function withoutPlugins(network: Network): Network {
  return {
    status: () => network.status(),
    namespacePath: (id) => network.namespacePath(id),
    createNamespace: (id, signal) => network.createNamespace(id, signal),
    attach: () => Promise.resolve(nowhere()),
    joinTap: () => Promise.resolve(),
    detach: () => Promise.resolve(),
    removeNamespace: (id) => network.removeNamespace(id),
    use: (id) => network.use(id),
    setPodCidr: (cidr) => network.setPodCidr(cidr),
  };
}

function nowhere(): PodInterface {
  // Locally administered, as the first byte says (IEEE 802).
  const mac = [0x02, ...randomBytes(5)].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
  return { name: 'eth0', mac, mtu, addresses: [], routes: [], dns: { nameservers: [], searches: [], options: [] } };
}
