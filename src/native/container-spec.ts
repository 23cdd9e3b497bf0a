/** The OCI spec of a native container: the shared part, and what is particular to the host. */
import { HuskError } from '../base/errors.ts';
import { type ContainerConfig, NamespaceMode, type PodSandboxConfig } from '../gen/cri/v1/api.ts';
import { completeSpec } from '../oci/complete-spec.ts';
import { readLocalhostSeccomp } from '../oci/localhost-seccomp.ts';
import type { ProcessUser } from '../oci/resolve-user.ts';
import type { OciMount, OciNamespace, OciSpec } from '../oci/runtime-spec.ts';
import { buildSpec } from '../oci/spec.ts';
import { inUserNamespace } from '../oci/user-namespace.ts';
import type { Image } from '../pod/image-view.ts';
import type { UserNamespace } from '../pod/user-namespace.ts';
import { bindMounts } from './bind-mounts.ts';
import { askedDevices, hostDevices } from './devices.ts';
import type { HostFacts } from './host-facts.ts';
import type { ImageSource } from './image-volumes.ts';
import { appArmorProfile, selinuxLabels } from './labels.ts';
import type { NativePodState } from './native-state.ts';
import type { ContainerPlaces, PodPlaces } from './places.ts';

export interface NativeSpecInput {
  readonly containerId: string;
  readonly config: ContainerConfig;
  readonly sandboxConfig: PodSandboxConfig;
  readonly image: Image;
  readonly state: NativePodState;
  readonly host: HostFacts;
  readonly pod: PodPlaces;
  readonly container: ContainerPlaces;
  readonly cgroupsPath: string;
  /** Path of the pod's network namespace; used when it has one. */
  readonly netnsPath: string;
  /** Path of the PID namespace of the target container, when that is asked for. */
  readonly targetPid: string | undefined;
  readonly user: ProcessUser;
  /** The pod's, where it has its own. */
  readonly userNamespace: UserNamespace | undefined;
  readonly usernsProgram: string;
  /** Image volumes that were mounted, by the place of their mount in the configuration. */
  readonly imageSources: ReadonlyMap<number, ImageSource>;
}

/**
 * Builds config.json.
 * @throws HuskError that names the field
 */
export async function nativeSpec(input: NativeSpecInput): Promise<OciSpec> {
  const { config, image, state, pod, container } = input;
  const privileged = config.linux?.securityContext?.privileged === true;
  const seccomp = await readLocalhostSeccomp(config);
  const base = buildSpec({
    containerId: input.containerId,
    config,
    image: image.config,
    hostname: state.hostname,
    ...(seccomp === undefined ? {} : { localhostSeccomp: seccomp }),
  });
  const { mounts, rootPropagation } = await bindMounts(config.mounts, {
    program: input.usernsProgram,
    folder: container.mapped,
    imageSources: input.imageSources,
  });
  const asked = await askedDevices(config.devices);
  if (input.userNamespace !== undefined) refuseOtherNames(config);
  const whole = completeSpec(
    { ...base, mounts: [...withoutOverridden(base.mounts, mounts), ...mounts] },
    {
      user: input.user,
      rootfs: container.rootfs,
      hostnameFile: pod.hostname,
      resolvConfFile: pod.resolvConf,
      shmFolder: state.own.ipc ? pod.shm : '/dev/shm',
      files: [],
    },
  );
  const spec: OciSpec = {
    ...whole,
    process: { ...clampToHost(whole.process, input), ...(await labels(input, privileged)) },
    mounts: [...whole.mounts, ...hostsMount(whole, pod)],
    linux: {
      ...whole.linux,
      namespaces: namespaces(input, privileged),
      cgroupsPath: input.cgroupsPath,
      ...mountLabel(input),
      resources: { ...whole.linux.resources, devices: [...whole.linux.resources.devices, ...asked.rules] },
      devices: privileged ? [...(await hostDevices())] : [...asked.devices],
      ...(rootPropagation === undefined ? {} : { rootfsPropagation: rootPropagation }),
    },
  };
  return input.userNamespace === undefined ? spec : inUserNamespace(spec, input.userNamespace, pod.user);
}

/** In a user namespace no device can be made: the OCI runtime shows the host's, under its name. */
function refuseOtherNames({ devices }: ContainerConfig): void {
  const index = devices.findIndex(({ hostPath, containerPath }) => hostPath !== containerPath);
  const device = devices[index];
  if (device === undefined) return;
  throw new HuskError(
    'unimplemented',
    `config.devices[${index}].container_path "${device.containerPath.slice(0, 200)}": in a user namespace wanted the name of the host, "${device.hostPath.slice(0, 200)}"`,
  );
}

/** A mount of the pod's stands in for ours at the same place; one at /dev also for what we put below it. */
function withoutOverridden(ours: readonly OciMount[], pods: readonly OciMount[]): OciMount[] {
  const taken = new Set(pods.map(({ destination }) => destination));
  return ours.filter(
    ({ destination }) => !taken.has(destination) && !(taken.has('/dev') && destination.startsWith('/dev/')),
  );
}

function hostsMount(spec: OciSpec, pod: PodPlaces): OciMount[] {
  if (spec.mounts.some(({ destination }) => destination === '/etc/hosts')) return [];
  const access = spec.root.readonly ? ['ro'] : [];
  const options = ['bind', 'rprivate', 'nosuid', 'nodev', 'noexec', ...access];
  return [{ destination: '/etc/hosts', type: 'bind', source: pod.hosts, options }];
}

/** What this process may not give, a container cannot have: the OCI runtime would fail on it. */
function clampToHost(process: OciSpec['process'], { host, config }: NativeSpecInput): OciSpec['process'] {
  const { capabilities } = process;
  const missing = (config.linux?.securityContext?.capabilities?.addCapabilities ?? [])
    .map((name) => (name.toUpperCase().startsWith('CAP_') ? name.toUpperCase() : `CAP_${name.toUpperCase()}`))
    .find((name) => name !== 'CAP_ALL' && !host.capabilities.has(name));
  if (missing !== undefined) {
    throw new HuskError(
      'failed-precondition',
      `config.linux.security_context.capabilities.add_capabilities "${missing}": huskd itself has not this capability`,
    );
  }
  const had = (names: readonly string[]): string[] => names.filter((name) => host.capabilities.has(name));
  return {
    ...process,
    capabilities: {
      bounding: had(capabilities.bounding),
      effective: had(capabilities.effective),
      permitted: had(capabilities.permitted),
      inheritable: had(capabilities.inheritable),
      ambient: had(capabilities.ambient),
    },
    rlimits: process.rlimits.map((limit) =>
      limit.type === 'RLIMIT_NOFILE'
        ? { ...limit, hard: Math.min(limit.hard, host.maxOpenFiles), soft: Math.min(limit.soft, host.maxOpenFiles) }
        : limit,
    ),
    oomScoreAdj: Math.max(process.oomScoreAdj ?? 0, host.leastOomScoreAdj),
  };
}

async function labels(input: NativeSpecInput, privileged: boolean): Promise<Partial<OciSpec['process']>> {
  const profile = await appArmorProfile(input.config, input.host.appArmor, privileged);
  const selinuxLabel = selinuxLabels(input.config, input.host.selinux)?.process;
  return {
    ...(profile === undefined ? {} : { apparmorProfile: profile }),
    ...(selinuxLabel === undefined ? {} : { selinuxLabel }),
  };
}

function mountLabel(input: NativeSpecInput): Partial<OciSpec['linux']> {
  const label = selinuxLabels(input.config, input.host.selinux)?.mounts;
  return label === undefined ? {} : { mountLabel: label };
}

function namespaces(input: NativeSpecInput, privileged: boolean): { type: OciNamespace; path?: string }[] {
  const { state, pod, config } = input;
  return [
    { type: 'mount' },
    // A privileged container manages the host's cgroups, so it sees them as they are; in a user namespace it cannot.
    ...(privileged && input.userNamespace === undefined ? [] : [{ type: 'cgroup' as const }]),
    ...(state.own.network ? [{ type: 'network' as const, path: input.netnsPath }] : []),
    ...(state.own.ipc ? [{ type: 'ipc' as const, path: pod.ipc }] : []),
    ...(state.own.uts ? [{ type: 'uts' as const, path: pod.uts }] : []),
    ...pidNamespace(input, config.linux?.securityContext?.namespaceOptions?.pid ?? NamespaceMode.CONTAINER),
  ];
}

function pidNamespace(input: NativeSpecInput, mode: NamespaceMode): { type: OciNamespace; path?: string }[] {
  const field = 'config.linux.security_context.namespace_options.pid';
  const sandboxMode = input.sandboxConfig.linux?.securityContext?.namespaceOptions?.pid;
  switch (mode) {
    case NamespaceMode.NODE:
      if (sandboxMode === NamespaceMode.NODE) return [];
      throw new HuskError('invalid-argument', `${field} "NODE": the pod was not made with the host's PID namespace`);
    case NamespaceMode.POD:
      return input.state.sharedPid ? [{ type: 'pid', path: input.pod.pid }] : [{ type: 'pid' }];
    case NamespaceMode.TARGET:
      return [{ type: 'pid', ...(input.targetPid === undefined ? {} : { path: input.targetPid }) }];
    default:
      return [{ type: 'pid' }];
  }
}
