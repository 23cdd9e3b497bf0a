/** Ids in the pod's user namespace and in the guest. Pure. */
import { HuskError } from '../../src/base/errors.ts';
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

/** @throws HuskError `invalid-argument` for a user or group that the namespace has not */
export function checkUserIsMapped(
  { uids, gids }: PodIds,
  user: { readonly uid: number; readonly gid: number; readonly supplementalGroups: readonly number[] },
): void {
  if (user.uid >= uids.length) throw beyond('user', user.uid, uids);
  for (const gid of [user.gid, ...user.supplementalGroups]) if (gid >= gids.length) throw beyond('group', gid, gids);
}

function beyond(what: string, id: number, { length }: IdRange): HuskError {
  return new HuskError('invalid-argument', `${what} "${id}": the pod's user namespace has ids 0 to ${length - 1}`);
}
