/** What a spec needs for a container in its pod's user namespace. Pure. */
import type { UserNamespace } from '../pod/user-namespace.ts';
import type { OciMount, OciSpec } from './runtime-spec.ts';

/**
 * The spec, in the namespace at the path.
 *
 * Root of a user namespace may mount only what belongs to namespaces of its own: sysfs shows a network
 * and mqueue an IPC namespace, which are the pod's and not the container's. Those of outside are bound instead.
 */
export function inUserNamespace(spec: OciSpec, { uids, gids }: UserNamespace, path: string): OciSpec {
  const { namespaces } = spec.linux;
  const own = (type: string): boolean => namespaces.some((each) => each.type === type && each.path === undefined);
  const bound = new Map<string, OciMount>();
  if (!own('network')) bound.set('sysfs', bindOf('/sys'));
  if (!own('ipc')) bound.set('mqueue', bindOf('/dev/mqueue'));
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
