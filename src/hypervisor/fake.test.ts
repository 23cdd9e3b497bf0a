import { before } from 'node:test';
import { FakeHypervisor } from './fake.ts';
import { hypervisorContract } from './hypervisor.contract.ts';

const hypervisor = new FakeHypervisor();
before(() => hypervisor.prepareTemplate({ vcpus: 1, memoryMiB: 256 }));

hypervisorContract('fake', {
  hypervisor: () => hypervisor,
  config: (id) =>
    Promise.resolve({
      id,
      vcpus: 1,
      memoryMiB: 256,
      uid: 600_000,
      netnsPath: '/run/netns/x',
      cgroupPaths: [],
      stateFolder: `/run/x/${id}`,
      diskFolder: `/var/x/${id}`,
      diskBytes: 2 ** 30,
      agentSocketUid: 64_010,
      oomScoreAdj: 0,
    }),
  layers: () => [
    { path: '/store/a', sizeBytes: 4096 },
    { path: '/store/b', sizeBytes: 8192 },
  ],
});
