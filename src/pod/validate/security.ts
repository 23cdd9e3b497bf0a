/** Rules that the security contexts of pods and containers share. */

import {
  type IDMapping,
  type Int64Value,
  NamespaceMode,
  type NamespaceOption,
  type SELinuxOption,
  type SecurityProfile,
  SecurityProfile_ProfileType,
  SupplementalGroupsPolicy,
  type UserNamespace,
} from '../../gen/cri/v1/api.ts';
import { absolutePath, count, each, member, range, refuse, text } from './check.ts';
import { limits } from './limits.ts';

interface Identity {
  readonly runAsUser: Int64Value | undefined;
  readonly runAsGroup: Int64Value | undefined;
  readonly supplementalGroups: readonly bigint[];
  readonly supplementalGroupsPolicy: number;
  /** Only containers have it. */
  readonly runAsUsername?: string;
}

interface Profiles {
  readonly seccomp: SecurityProfile | undefined;
  readonly apparmor: SecurityProfile | undefined;
  readonly seccompProfilePath: string;
  readonly selinuxOptions: SELinuxOption | undefined;
}

/**
 * User and groups: numbers that cannot wrap, names that are no numbers.
 * @throws HuskError `invalid-argument`
 */
export function checkIdentity(path: string, identity: Identity): void {
  const { runAsUser, runAsGroup, runAsUsername = '' } = identity;
  if (runAsUser !== undefined) range(`${path}.run_as_user.value`, runAsUser.value, 0, limits.id);
  if (runAsGroup !== undefined) {
    range(`${path}.run_as_group.value`, runAsGroup.value, 0, limits.id);
    if (runAsUser === undefined && runAsUsername === '') {
      refuse(`${path}.run_as_group.value`, runAsGroup.value, 'wanted together with a user');
    }
  }
  text(`${path}.run_as_username`, runAsUsername, {
    max: limits.nameChars,
    // Digits alone are an id (CVE-2026-46680); a colon would bring a group along.
    pattern: /^(?!\d+$)[A-Za-z0-9_][A-Za-z0-9_.@$-]*$/,
    wanted: 'the name of a user, not a number',
    optional: true,
  });
  if (runAsUsername !== '' && runAsUser !== undefined) {
    refuse(`${path}.run_as_username`, runAsUsername, 'run_as_user is set too, wanted one of them');
  }
  each(`${path}.supplemental_groups`, identity.supplementalGroups, limits.supplementalGroups, (at, group) => {
    range(at, group, 0, limits.id);
  });
  member(`${path}.supplemental_groups_policy`, identity.supplementalGroupsPolicy, SupplementalGroupsPolicy);
}

/**
 * Seccomp, AppArmor and SELinux.
 * @throws HuskError `invalid-argument`
 */
export function checkProfiles(path: string, profiles: Profiles): void {
  checkProfile(`${path}.seccomp`, profiles.seccomp, (at, reference) => absolutePath(at, reference));
  checkProfile(`${path}.apparmor`, profiles.apparmor, (at, reference) => {
    text(at, reference, { max: limits.nameChars, pattern: /^[A-Za-z0-9_./-]+$/, wanted: 'the name of a profile' });
  });
  text(`${path}.seccomp_profile_path`, profiles.seccompProfilePath, { max: limits.pathChars, optional: true });
  const rule = { max: limits.nameChars, pattern: /^[A-Za-z0-9_.:,-]+$/, wanted: 'a part of an SELinux label' };
  for (const part of ['user', 'role', 'type', 'level'] as const) {
    text(`${path}.selinux_options.${part}`, profiles.selinuxOptions?.[part] ?? '', { ...rule, optional: true });
  }
}

/**
 * Namespaces.
 * @throws HuskError `invalid-argument`
 */
export function checkNamespaces(path: string, options: NamespaceOption | undefined): void {
  if (options === undefined) return;
  member(`${path}.network`, options.network, NamespaceMode);
  member(`${path}.pid`, options.pid, NamespaceMode);
  member(`${path}.ipc`, options.ipc, NamespaceMode);
  if (options.network === NamespaceMode.TARGET) refuse(`${path}.network`, 'TARGET', 'wanted POD or NODE');
  if (options.ipc === NamespaceMode.TARGET) refuse(`${path}.ipc`, 'TARGET', 'wanted POD, CONTAINER or NODE');
  text(`${path}.target_id`, options.targetId, { max: 64, optional: true });
  checkUserNamespace(`${path}.userns_options`, options.usernsOptions);
  const host = (['network', 'pid', 'ipc'] as const).find((kind) => options[kind] === NamespaceMode.NODE);
  if (host !== undefined && options.usernsOptions?.mode === NamespaceMode.POD) {
    refuse(
      `${path}.userns_options.mode`,
      'POD',
      `wanted NODE with ${host} NODE: root of the pod would have no rights there`,
    );
  }
}

/** One mapping of uids and one of gids, as the kubelet sends them, or the host's namespace and none. */
function checkUserNamespace(path: string, user: UserNamespace | undefined): void {
  if (user === undefined) return;
  member(`${path}.mode`, user.mode, NamespaceMode);
  if (user.mode !== NamespaceMode.NODE && user.mode !== NamespaceMode.POD) {
    refuse(`${path}.mode`, user.mode === NamespaceMode.TARGET ? 'TARGET' : 'CONTAINER', 'wanted POD or NODE');
  }
  const wanted = user.mode === NamespaceMode.POD ? 1 : 0;
  for (const kind of ['uids', 'gids'] as const) {
    const mappings = user[kind];
    if (mappings.length !== wanted) {
      refuse(
        `${path}.${kind}`,
        `${mappings.length} mappings`,
        `wanted ${wanted} in mode ${wanted === 1 ? 'POD' : 'NODE'}`,
      );
    }
    for (const mapping of mappings) checkIdMapping(`${path}.${kind}[0]`, mapping);
  }
}

/**
 * Ids of mounts: none, or one mapping of uids and one of gids.
 * @throws HuskError `invalid-argument`
 */
export function checkMountMappings(path: string, uids: readonly IDMapping[], gids: readonly IDMapping[]): void {
  count(`${path}.uidMappings`, uids.length, 1);
  count(`${path}.gidMappings`, gids.length, 1);
  if (uids.length !== gids.length)
    refuse(`${path}.gidMappings`, `${gids.length} mappings`, 'wanted as many as of uids');
  for (const mapping of uids) checkIdMapping(`${path}.uidMappings[0]`, mapping);
  for (const mapping of gids) checkIdMapping(`${path}.gidMappings[0]`, mapping);
}

/** Root of the pod is mapped, and not to root; the id behind the last one must be there to stand for none. */
function checkIdMapping(path: string, { hostId, containerId, length }: IDMapping): void {
  if (containerId !== 0) refuse(`${path}.container_id`, containerId, 'wanted 0: the root of the pod must be mapped');
  range(`${path}.host_id`, hostId, 1, limits.id);
  range(`${path}.length`, length, 1, limits.id - hostId);
}

function checkProfile(
  path: string,
  profile: SecurityProfile | undefined,
  checkReference: (path: string, reference: string) => void,
): void {
  if (profile === undefined) return;
  member(`${path}.profile_type`, profile.profileType, SecurityProfile_ProfileType);
  if (profile.profileType === SecurityProfile_ProfileType.Localhost) {
    checkReference(`${path}.localhost_ref`, profile.localhostRef);
  } else if (profile.localhostRef !== '') {
    refuse(`${path}.localhost_ref`, profile.localhostRef, 'wanted only with profile_type Localhost');
  }
}
