/** A pod's user namespace: which ids of the host its ids are. Pure. */
import { HuskError } from '../base/errors.ts';
import { type ContainerConfig, type IDMapping, NamespaceMode, type NamespaceOption } from '../gen/cri/v1/api.ts';

/** Id 0 of the pod is `hostId`, and so on for `length` ids. */
export interface IdRange {
  readonly hostId: number;
  readonly length: number;
}

export interface UserNamespace {
  readonly uids: IdRange;
  readonly gids: IdRange;
}

/** The namespace that checked options ask for; undefined: that of the host. */
export function userNamespaceOf(options: NamespaceOption | undefined): UserNamespace | undefined {
  const asked = options?.usernsOptions;
  if (asked === undefined || asked.mode !== NamespaceMode.POD) return undefined;
  return mappedBy(asked.uids, asked.gids);
}

/** What a mount's mappings say; undefined: its files keep their owners. */
export function mappedBy(uids: readonly IDMapping[], gids: readonly IDMapping[]): UserNamespace | undefined {
  const [uid, gid] = [uids[0], gids[0]];
  if (uid === undefined || gid === undefined) return undefined;
  return {
    uids: { hostId: uid.hostId, length: uid.length },
    gids: { hostId: gid.hostId, length: gid.length },
  };
}

/**
 * A container is in its pod's user namespace or, where it names one, names that of the pod; its mounts
 * are mapped by the same.
 *
 * @param pod that of the pod
 * @throws HuskError `invalid-argument`
 */
export function checkContainerUserNamespace(config: ContainerConfig, pod: UserNamespace | undefined): void {
  const options = config.linux?.securityContext?.namespaceOptions;
  if (options?.usernsOptions !== undefined && !same(userNamespaceOf(options), pod)) {
    throw new HuskError(
      'invalid-argument',
      `config.linux.security_context.namespace_options.userns_options "${shown(userNamespaceOf(options))}": wanted that of the pod, ${shown(pod)}`,
    );
  }
  for (const [index, { uidMappings, gidMappings }] of config.mounts.entries()) {
    const mapped = mappedBy(uidMappings, gidMappings);
    if (mapped === undefined || same(mapped, pod)) continue;
    throw new HuskError(
      'invalid-argument',
      `config.mounts[${index}].uidMappings "${shown(mapped)}": wanted those of the pod's user namespace, ${shown(pod)}`,
    );
  }
}

function same(a: UserNamespace | undefined, b: UserNamespace | undefined): boolean {
  return shown(a) === shown(b);
}

/** For messages, and to compare. */
function shown(namespace: UserNamespace | undefined): string {
  if (namespace === undefined) return 'the host';
  const { uids, gids } = namespace;
  return `uids ${uids.hostId}+${uids.length} gids ${gids.hostId}+${gids.length}`;
}
