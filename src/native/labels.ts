/** AppArmor profiles and SELinux labels of native containers, where the host has them. */
import { readFile } from 'node:fs/promises';
import { HuskError } from '../base/errors.ts';
import { type ContainerConfig, SecurityProfile_ProfileType } from '../gen/cri/v1/api.ts';

const profilesFile = '/sys/kernel/security/apparmor/profiles';
const field = 'config.linux.security_context';

/**
 * The AppArmor profile to run under; undefined: none. `RuntimeDefault` is what the host has under
 * the name that the tools of distributions load for containers, and nothing where it is not loaded.
 *
 * @param enabled whether the host's kernel has AppArmor
 * @throws HuskError `failed-precondition` for a profile that is not there: running without it would be less safe than asked
 */
export async function appArmorProfile(
  config: ContainerConfig,
  enabled: boolean,
  privileged: boolean,
): Promise<string | undefined> {
  const asked = askedProfile(config);
  if (asked === undefined || privileged) return undefined;
  const loaded = enabled ? loadedProfiles(await readFile(profilesFile, 'utf8').catch(() => '')) : new Set<string>();
  if (asked === 'default') return defaultProfiles.find((name) => loaded.has(name));
  if (loaded.has(asked)) return asked;
  const why = enabled ? 'this profile is not loaded' : 'the kernel of this host has no AppArmor';
  throw new HuskError('failed-precondition', `${field}.apparmor "${asked}": ${why}`, {
    hint: 'load the profile with apparmor_parser on the node',
  });
}

const defaultProfiles: readonly string[] = [
  'husk-default',
  'cri-containerd.apparmor.d',
  'crio-default',
  'docker-default',
];

/** `default`, a name, or undefined for unconfined and nothing asked. The old field counts where the new one is absent. */
function askedProfile(config: ContainerConfig): string | undefined {
  const security = config.linux?.securityContext;
  const profile = security?.apparmor;
  if (profile !== undefined) {
    switch (profile.profileType) {
      case SecurityProfile_ProfileType.RuntimeDefault:
        return 'default';
      case SecurityProfile_ProfileType.Localhost:
        return profile.localhostRef.replace(/^localhost\//, '');
      default:
        return undefined;
    }
  }
  const old = security?.apparmorProfile ?? '';
  if (old === '' || old === 'unconfined') return undefined;
  return old === 'runtime/default' ? 'default' : old.replace(/^localhost\//, '');
}

/** Names of the lines `NAME (MODE)`. Pure. */
export function loadedProfiles(text: string): ReadonlySet<string> {
  return new Set(text.split('\n').flatMap((line) => /^(.+) \([a-z]+\)$/.exec(line)?.[1] ?? []));
}

/**
 * SELinux labels from CRI's options; undefined where the host has no SELinux or nothing is asked.
 * Unset parts are those of the container policy that distributions ship.
 */
export function selinuxLabels(
  config: ContainerConfig,
  enabled: boolean,
): { readonly process: string; readonly mounts: string } | undefined {
  const options = config.linux?.securityContext?.selinuxOptions;
  if (!enabled || options === undefined) return undefined;
  const user = options.user || 'system_u';
  const role = options.role || 'system_r';
  const level = options.level || 's0';
  return {
    process: `${user}:${role}:${options.type || 'container_t'}:${level}`,
    mounts: `${user}:object_r:container_file_t:${level}`,
  };
}
