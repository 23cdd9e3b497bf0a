/** The OCI runtime spec of a container in a VM pod, from CRI's wish and the image. Pure. */

import { HuskError } from '../base/errors.ts';
import type { ContainerConfig, LinuxContainerSecurityContext } from '../gen/cri/v1/api.ts';
import type { UserNamespace } from '../pod/user-namespace.ts';
import { allCapabilities, capabilitySets, resolveCapabilities } from './capabilities.ts';
import { defaultMaskedPaths, defaultReadonlyPaths } from './default-paths.ts';
import { defaultMounts } from './mounts.ts';
import { processArgs, processEnv } from './process-args.ts';
import { ociResources } from './resources.ts';
import type { OciNamespace, OciSeccomp, OciSpec } from './runtime-spec.ts';
import { defaultSeccompProfile } from './seccomp.ts';
import { inUserNamespace } from './user-namespace.ts';

export interface SpecInput {
  readonly containerId: string;
  readonly config: ContainerConfig;
  readonly image: {
    readonly env: readonly string[];
    readonly workingDir: string;
    readonly entrypoint: readonly string[];
    readonly cmd: readonly string[];
  };
  readonly hostname: string;
  /** Path of the PID namespace to join; undefined: one of its own. */
  readonly pidNamespacePath?: string;
  /** The pod's user namespace, and where it is; undefined: none. */
  readonly userNamespace?: UserNamespace & { readonly path: string };
  /** The parsed profile when the container asks for `Localhost` (the file is read by the caller). */
  readonly localhostSeccomp?: OciSeccomp;
}

/** Files a process may have open: the soft and hard limits that systemd gives a service. */
const noFileLimits = { soft: 1024, hard: 524_288 };
const ociVersion = '1.0.2';

/**
 * Builds config.json. `process.user`, `root.path` and the pod's own files are completed in the guest.
 *
 * @throws HuskError `invalid-argument` with the field's name
 */
export function buildSpec(input: SpecInput): OciSpec {
  const { userNamespace } = input;
  const spec = plainSpec(input);
  return userNamespace === undefined ? spec : inUserNamespace(spec, userNamespace, userNamespace.path);
}

function plainSpec(input: SpecInput): OciSpec {
  const { config, image } = input;
  const security = config.linux?.securityContext;
  const privileged = security?.privileged === true;
  const capabilities = containerCapabilities(security);
  const resources = config.linux?.resources;
  const seccomp = chooseSeccomp(security, capabilities, input.localhostSeccomp);
  return {
    ociVersion,
    process: {
      terminal: config.tty,
      user: { uid: 0, gid: 0, additionalGids: [] },
      args: processArgs({
        command: config.command,
        args: config.args,
        imageEntrypoint: image.entrypoint,
        imageCmd: image.cmd,
      }),
      env: processEnv(image.env, podEnv(config), baseEnv(input)),
      cwd: config.workingDir || image.workingDir || '/',
      capabilities: capabilitySets(capabilities, security?.capabilities?.addAmbientCapabilities ?? []),
      rlimits: [{ type: 'RLIMIT_NOFILE', ...noFileLimits }],
      noNewPrivileges: security?.noNewPrivs === true,
      ...(resources === undefined ? {} : { oomScoreAdj: Number(resources.oomScoreAdj) }),
    },
    root: { path: 'rootfs', readonly: security?.readonlyRootfs === true },
    mounts: defaultMounts(privileged),
    annotations: {},
    linux: {
      namespaces: namespaces(input),
      cgroupsPath: `/pod/${input.containerId}`,
      resources: ociResources(resources, privileged),
      ...(seccomp === undefined ? {} : { seccomp }),
      maskedPaths: privileged ? [] : orDefault(security?.maskedPaths, defaultMaskedPaths),
      readonlyPaths: privileged ? [] : orDefault(security?.readonlyPaths, defaultReadonlyPaths),
    },
  };
}

function containerCapabilities(security: LinuxContainerSecurityContext | undefined): readonly string[] {
  if (security?.privileged) return allCapabilities;
  return resolveCapabilities(
    security?.capabilities?.addCapabilities ?? [],
    security?.capabilities?.dropCapabilities ?? [],
  );
}

/** The VM is the pod: its network, IPC and UTS namespaces are the pod's. */
function namespaces(input: SpecInput): { type: OciNamespace; path?: string }[] {
  const options = input.config.linux?.securityContext?.namespaceOptions;
  const pid = input.pidNamespacePath;
  return [
    { type: 'mount' },
    { type: 'cgroup' },
    pid === undefined ? { type: 'pid' } : { type: 'pid', path: pid },
    ...(options?.ipc === 1 ? [{ type: 'ipc' as const }] : []),
  ];
}

function chooseSeccomp(
  security: LinuxContainerSecurityContext | undefined,
  capabilities: readonly string[],
  localhost: OciSeccomp | undefined,
): OciSeccomp | undefined {
  const asked = security?.seccomp;
  if (security === undefined || security.privileged || asked === undefined) return undefined;
  switch (asked.profileType) {
    case 0:
      return defaultSeccompProfile(capabilities);
    case 1:
      return undefined;
    case 2:
      if (localhost !== undefined) return localhost;
      throw new HuskError('invalid-argument', `${seccompField} "${asked.localhostRef}": the profile was not read`);
    default:
      throw new HuskError('invalid-argument', `${seccompField} "${asked.profileType}": no such profile type`);
  }
}

const seccompField = 'config.linux.security_context.seccomp';

function baseEnv(input: SpecInput): string[] {
  return [`HOSTNAME=${input.hostname}`, ...(input.config.tty ? ['TERM=xterm'] : [])];
}

function podEnv(config: ContainerConfig): string[] {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  return config.envs.map(({ key, value }) => {
    try {
      return `${key}=${decoder.decode(value)}`;
    } catch (cause) {
      throw new HuskError('invalid-argument', `config.envs "${key.slice(0, 64)}": the value is not UTF-8`, { cause });
    }
  });
}

function orDefault(asked: readonly string[] | undefined, fallback: readonly string[]): string[] {
  return [...(asked === undefined || asked.length === 0 ? fallback : asked)];
}
