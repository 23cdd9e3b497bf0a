/** What kind of volume a CRI mount is, from what stands at its host path. Pure. */
import { HuskError } from '../base/errors.ts';
import { type Mount, MountPropagation } from '../gen/cri/v1/api.ts';

/** What was found at a mount's host path, links followed once. */
export interface HostFacts {
  /** The path without links. */
  readonly path: string;
  readonly type: 'folder' | 'file' | 'block' | 'character' | 'socket' | 'fifo';
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  /** Of the file system, when that is a tmpfs mounted at the path itself; else undefined. */
  readonly tmpfsBytes?: number | undefined;
  /** Where the mount at the path takes its files from, when it shows a part of another volume of the pod. */
  readonly partOf?: { readonly path: string; readonly subPath: string } | undefined;
}

/** How a mount becomes a volume of a VM pod. */
export type VolumeKind =
  /** Small and only read: a copy in the guest's memory that follows the host. */
  | { readonly kind: 'tree'; readonly path: string }
  /** Memory of the guest. */
  | { readonly kind: 'memory'; readonly path: string; readonly sizeBytes: number }
  /** The host's own files, live. */
  | { readonly kind: 'share'; readonly path: string }
  /** A disk; with a file system that the guest mounts, or given as it is. */
  | { readonly kind: 'block'; readonly path: string; readonly fsType: string; readonly options: readonly string[] };

/** A single file up to this size is copied when it is only read. */
export const maxPushedFileBytes = 1024 * 1024;

const podVolume = /\/pods\/[^/]+\/volumes\/kubernetes\.io~([a-z-]+)\/[^/]+$/;
const etcHosts = /\/pods\/[^/]+\/etc-hosts$/;
const treeKinds: ReadonlySet<string> = new Set(['configmap', 'secret', 'projected', 'downward-api']);

/**
 * Chooses the kind.
 *
 * Only the kubelet's own layout (kubernetes/pkg/kubelet/kubelet_getters.go) makes a copy of a folder, or
 * memory; every other folder may be written by others and is shared live. So is an emptyDir on disk:
 * the kubelet counts what is in it.
 *
 * @throws HuskError `invalid-argument` for what no virtual machine can be given
 */
export function volumeKind(mount: Pick<Mount, 'hostPath' | 'readonly'>, facts: HostFacts): VolumeKind {
  const { path, type } = facts;
  switch (type) {
    case 'block':
      return { kind: 'block', path, fsType: '', options: [] };
    case 'folder': {
      const plugin = podVolume.exec(mount.hostPath)?.[1] ?? '';
      if (plugin === 'empty-dir' && facts.tmpfsBytes !== undefined)
        return { kind: 'memory', path, sizeBytes: facts.tmpfsBytes };
      return treeKinds.has(plugin) && mount.readonly ? { kind: 'tree', path } : { kind: 'share', path };
    }
    case 'file':
      return etcHosts.test(mount.hostPath) || (mount.readonly && facts.sizeBytes <= maxPushedFileBytes)
        ? { kind: 'tree', path }
        : { kind: 'share', path };
    default:
      throw new HuskError(
        'invalid-argument',
        `config.mounts.host_path "${mount.hostPath.slice(0, 200)}": a ${names[type]} of the host, which nothing in a virtual machine can reach`,
        { stage: 'volumes', hint: 'run the pod with RuntimeClass handler "native"' },
      );
  }
}

const names = { socket: 'socket', fifo: 'fifo', character: 'character device' } as const;

/** @throws HuskError `invalid-argument` for a propagation that cannot leave a virtual machine */
export function checkPropagation({ containerPath, propagation }: Mount): void {
  if (propagation !== MountPropagation.PROPAGATION_BIDIRECTIONAL) return;
  throw new HuskError(
    'invalid-argument',
    `config.mounts "${containerPath.slice(0, 200)}": propagation BIDIRECTIONAL: mounts made in a virtual machine are not seen by the host`,
    { stage: 'volumes', hint: 'run the pod with RuntimeClass handler "native"' },
  );
}

/**
 * Whether the folder is an emptyDir of this very pod: the kubelet makes it, measures it and removes it, and nobody but
 * the pod changes what is in it. One that another pod reaches by a hostPath is not that pod's own.
 */
export function isOwnEmptyDir(path: string, podUid: string): boolean {
  const [plugin, uid] = [podVolume.exec(path)?.[1], /\/pods\/([^/]+)\/volumes\/[^/]+\/[^/]+$/.exec(path)?.[1]];
  return plugin === 'empty-dir' && uid !== undefined && uid === podUid;
}
