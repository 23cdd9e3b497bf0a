/** Ids in the pod's user namespace and in the guest. Pure. */
import type { IdRange, UserNamespace } from '../../src/gen/agent/v1/agent.ts';

/** Maps what containers call an id to what the guest calls it. */
export interface PodIds {
  readonly uids: IdRange;
  readonly gids: IdRange;
  /** Root of the namespace. */
  readonly root: { readonly uid: number; readonly gid: number };
  uid(inside: number): number;
  gid(inside: number): number;
}

export function podIds(namespace: UserNamespace | undefined): PodIds | undefined {
  const { uids, gids } = namespace ?? {};
  if (uids === undefined || gids === undefined) return undefined;
  return {
    uids,
    gids,
    root: { uid: uids.hostId, gid: gids.hostId },
    uid: (inside) => mapped(uids, inside),
    gid: (inside) => mapped(gids, inside),
  };
}

/** What the namespace has not becomes the first id behind it, as in husk-shift: nobody's. */
function mapped({ hostId, length }: IdRange, inside: number): number {
  return hostId + Math.min(inside, length);
}
