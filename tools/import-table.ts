/**
 * Which folder of src/ may import which: the one table from which the lint configuration
 * is generated (tools/lint-config.ts) and against which test/architecture checks the tree.
 *
 * Imports point down, and folders of a layer do not know one another. The exceptions are
 * written here, each with its reason.
 */
export interface FolderRule {
  /** Folders of src/ whose every file may be imported. */
  readonly all?: readonly string[];
  /** Folders of src/ of which only the seam file may be imported: never an implementation. */
  readonly seams?: readonly string[];
}

/** The seam of a folder: the file (or files) that says what it does without saying how. */
export const seamFiles: Readonly<Record<string, readonly string[]>> = {
  agent: ['agent.ts'],
  hypervisor: ['hypervisor.ts'],
  images: ['image-store.ts'],
  network: ['network.ts'],
};

/** Rules by folder of src/, lowest layer first. */
export const importTable: Readonly<Record<string, FolderRule>> = {
  base: {},
  gen: {},
  // What guest and host must agree on beside proto/: bundled with the agent, used by the gateway and the hypervisor.
  guest: { all: ['base', 'gen'] },
  pod: { all: ['base', 'gen'] },
  oci: { all: ['base', 'gen', 'pod'] },
  jail: { all: ['base'] },
  // Use of a cgroup has one shape, read on the host or told by a guest.
  cgroups: { all: ['base', 'gen'] },
  // QEMU is started through the jail's typed wrapper and in no other way; where layers lie on their disk, template and
  // guest agree.
  hypervisor: { all: ['base', 'guest', 'jail'] },
  network: { all: ['base'] },
  agent: { all: ['base', 'gen'] },
  streaming: { all: ['base', 'gen'] },
  // The image worker is jailed by the same launcher.
  images: { all: ['base', 'gen', 'pod', 'jail'] },
  state: { all: ['base', 'gen', 'pod'] },
  // The file server's process is found and ended as that of any jailed program.
  volumes: { all: ['base', 'gen', 'pod', 'jail'] },
  metrics: { all: ['base', 'gen'] },
  // A process of its own: it speaks to the guests and serves the streams.
  gateway: { all: ['base', 'gen', 'guest', 'agent', 'streaming'] },
  vm: {
    all: ['base', 'gen', 'pod', 'oci', 'cgroups', 'state', 'volumes'],
    seams: ['hypervisor', 'agent', 'images', 'network'],
  },
  native: {
    all: ['base', 'gen', 'pod', 'oci', 'cgroups', 'state', 'volumes'],
    seams: ['images', 'network'],
  },
  cri: { all: ['base', 'gen', 'pod', 'metrics', 'streaming'], seams: ['images'] },
  // The only place that composes, so it sees everything.
  cli: {
    all: [
      'base',
      'gen',
      'guest',
      'pod',
      'oci',
      'jail',
      'cgroups',
      'hypervisor',
      'network',
      'agent',
      'streaming',
      'images',
      'state',
      'volumes',
      'metrics',
      'gateway',
      'vm',
      'native',
      'cri',
    ],
  },
};

/** What the agent in the guest shares with the host: it is bundled with these folders only. */
export const guestAgentMayImport: readonly string[] = ['base', 'gen', 'guest', 'oci', 'cgroups'];
