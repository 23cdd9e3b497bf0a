/** Who a container runs as: CRI's fields and the image's user joined into one text, strictly. */

import { HuskError } from '../base/errors.ts';
import type { LinuxContainerSecurityContext } from '../gen/cri/v1/api.ts';

const maxId = 2n ** 32n - 2n;

export interface UserRequest {
  /** `uid`, `uid:gid`, `name`, `name:gid`, the image's text, or empty for root. */
  readonly user: string;
  readonly supplementalGroups: readonly number[];
  readonly strictGroups: boolean;
}

/**
 * @param imageUser the `User` of the image config, unparsed
 * @throws HuskError `invalid-argument` for ids beyond uint32 (CVE-2024-40635) or a group without a user
 */
export function userRequest(security: LinuxContainerSecurityContext | undefined, imageUser: string): UserRequest {
  if (security === undefined) return { user: imageUser, supplementalGroups: [], strictGroups: false };
  const { runAsUser, runAsGroup, runAsUsername } = security;
  const uid = runAsUser === undefined ? undefined : strictId('run_as_user', runAsUser.value);
  const gid = runAsGroup === undefined ? undefined : strictId('run_as_group', runAsGroup.value);
  if (gid !== undefined && uid === undefined && runAsUsername === '') {
    throw new HuskError('invalid-argument', `${field('run_as_group')} "${gid}": needs run_as_user or run_as_username`);
  }
  const who = uid === undefined ? runAsUsername || imageUser : String(uid);
  return {
    user: gid === undefined ? who : `${who}:${gid}`,
    supplementalGroups: security.supplementalGroups.map((group) => strictId('supplemental_groups', group)),
    strictGroups: security.supplementalGroupsPolicy === 1,
  };
}

function strictId(name: string, value: bigint): number {
  if (value < 0n || value > maxId) {
    throw new HuskError('invalid-argument', `${field(name)} "${value}": must be from 0 to ${maxId}`);
  }
  return Number(value);
}

function field(name: string): string {
  return `config.linux.security_context.${name}`;
}
