/** The differences that are meant, each with its reason. */
import type { Exception } from './compare.ts';

const podFiles =
  'husk mounts the files that it makes for the pod without set-uid bits, devices or programs, and read-only under a read-only root';

const hardened = /^\w+ r[ow],nosuid,nodev,noexec,relatime$/;

export const exceptions: readonly Exception[] = [
  { runtime: 'native', key: /^mount\/\/etc\/(hostname|resolv\.conf)$/, seen: hardened, reason: podFiles },
  {
    runtime: 'native',
    key: /^mount\/\/etc\/hosts$/,
    seen: hardened,
    reason: 'a pod has an /etc/hosts, as other runtimes and the kubelet give one; the config.json by hand has none',
  },
  {
    runtime: 'native',
    key: /^mount\/\/(etc|tmp)?$/,
    seen: /^overlay r[ow],(nosuid,)?nodev,relatime$/,
    reason:
      'the root of a container that is not privileged is mounted nodev, and nosuid under no-new-privileges (ADR 0080); so is what is bound from it read-only',
  },
];
