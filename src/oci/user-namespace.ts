/** What a spec needs for a container in its pod's user namespace. Pure. */
import { HuskError } from '../base/errors.ts';
import type { IdRange, UserNamespace } from '../pod/user-namespace.ts';
import type { OciMount, OciSpec } from './runtime-spec.ts';

/**
 * The spec, in the namespace at the path.
 *
 * Root of a user namespace may mount only what belongs to namespaces that it owns: sysfs shows a network and mqueue
 * an IPC namespace. Where the spec names none, they are those of outside, and what these show is bound instead; those
 * that it joins belong to the user namespace.
 */
export function inUserNamespace(spec: OciSpec, { uids, gids }: UserNamespace, path: string): OciSpec {
  const { namespaces } = spec.linux;
  const named = (type: string): boolean => namespaces.some((each) => each.type === type);
  const bound = new Map<string, OciMount>();
  if (!named('network')) bound.set('sysfs', bindOf('/sys'));
  if (!named('ipc')) bound.set('mqueue', bindOf('/dev/mqueue'));
  return {
    ...spec,
    mounts: spec.mounts.map((mount) => {
      const stand = bound.get(mount.type);
      if (stand === undefined) return mount;
      return { ...stand, destination: mount.destination, options: [...stand.options, ...mount.options] };
    }),
    linux: {
      ...spec.linux,
      namespaces: [{ type: 'user', path }, ...namespaces],
      uidMappings: [{ containerID: 0, hostID: uids.hostId, size: uids.length }],
      gidMappings: [{ containerID: 0, hostID: gids.hostId, size: gids.length }],
    },
  };
}

/** With what is mounted below, or the kernel would have to uncover what that hides. */
function bindOf(source: string): OciMount {
  return { destination: source, type: 'bind', source, options: ['rbind', 'rprivate'] };
}

/** @throws HuskError `invalid-argument` for a user or group that the namespace has not */
export function checkUserIsMapped(
  { uids, gids }: UserNamespace,
  user: { readonly uid: number; readonly gid: number; readonly supplementalGroups: readonly number[] },
): void {
  if (user.uid >= uids.length) throw beyond('user', user.uid, uids);
  for (const gid of [user.gid, ...user.supplementalGroups]) if (gid >= gids.length) throw beyond('group', gid, gids);
}

function beyond(what: string, id: number, { length }: IdRange): HuskError {
  return new HuskError('invalid-argument', `${what} "${id}": the pod's user namespace has ids 0 to ${length - 1}`);
}
