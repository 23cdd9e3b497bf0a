/** Which containers a prepared one can become, and what is left to do then. Pure. */
import { posix } from 'node:path';
import { allCapabilities, capabilitySets } from '../../../src/oci/capabilities.ts';
import { defaultMaskedPaths, defaultReadonlyPaths } from '../../../src/oci/default-paths.ts';
import { defaultMounts } from '../../../src/oci/mounts.ts';
import type { OciMount, OciSpec } from '../../../src/oci/runtime-spec.ts';
import { cgroupLimits } from './cgroup-limits.ts';

/** A bind mount that is made when the root is there. */
export interface PlannedBind {
  readonly source: string;
  readonly target: string;
  /** Words for husk-sys, with commas. */
  readonly flags: string;
}

export interface Plan {
  readonly binds: readonly PlannedBind[];
  readonly limits: readonly (readonly [string, string])[];
  readonly readonlyRoot: boolean;
  /** Of the seccomp filter; undefined without one. */
  readonly filterKey: string | undefined;
}

/** Where the program of a prepared container lies in its first root. */
export const stageProgram = '/stage';

/**
 * The spec of a prepared container: that of a pod's plain container, with husk-exec as its process,
 * which gives up what the container's own process shall not have.
 */
export function preparedSpec(rootfs: string, cgroupsPath: string, capabilities = allCapabilities): OciSpec {
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: 0, gid: 0, additionalGids: [] },
      args: [stageProgram, 'stage'],
      env: [],
      cwd: '/',
      capabilities: capabilitySets(capabilities, []),
      rlimits: [],
      noNewPrivileges: false,
    },
    root: { path: rootfs, readonly: false },
    mounts: defaultMounts(false),
    annotations: {},
    linux: {
      namespaces: [{ type: 'mount' }, { type: 'cgroup' }, { type: 'pid' }],
      cgroupsPath,
      resources: { devices: [{ allow: false, access: 'rwm' }] },
      maskedPaths: [...defaultMaskedPaths],
      readonlyPaths: [...defaultReadonlyPaths],
    },
  };
}

/** The key of a filter: the profile itself. */
export function filterKey(spec: OciSpec): string | undefined {
  return spec.linux.seccomp === undefined ? undefined : JSON.stringify(spec.linux.seccomp);
}

/** How a prepared container becomes this one; undefined when it cannot, and the OCI runtime has to make it. */
export function planFor(spec: OciSpec): Plan | undefined {
  const model = preparedSpec('', '');
  const own = spec.mounts.slice(0, model.mounts.length);
  const binds = spec.mounts.slice(model.mounts.length).map(plannedBind);
  const { namespaces, resources, maskedPaths, readonlyPaths, seccomp, cgroupsPath, ...unknown } = spec.linux;
  const { devices, ...limits } = resources;
  const { apparmorProfile, selinuxLabel, terminal } = spec.process;
  const same =
    equal([own, namespaces, maskedPaths, readonlyPaths, devices], modelParts(model)) &&
    Object.values(unknown).every((value) => value === undefined) &&
    !terminal &&
    [apparmorProfile, selinuxLabel, spec.hostname].every((text) => text === undefined || text === '') &&
    (seccomp === undefined || (seccomp.flags ?? []).length === 0) &&
    cgroupsPath !== '' &&
    posix.normalize(spec.process.cwd).startsWith('/');
  if (!same || binds.includes(undefined)) return undefined;
  return {
    binds: binds as PlannedBind[],
    limits: cgroupLimits({ devices: [], ...limits }),
    readonlyRoot: spec.root.readonly,
    filterKey: filterKey(spec),
  };
}

function modelParts({ mounts, linux }: OciSpec): unknown[] {
  return [mounts, linux.namespaces, linux.maskedPaths, linux.readonlyPaths, linux.resources.devices];
}

/**
 * Words of a spec's bind mount, and those of husk-sys. Nobody shares the guest's mounts, so private is what they are;
 * and nothing is mounted below a volume in the guest, so recursively read-only is read-only: what the host has
 * mounted below a live one is behind the file server, which seals it there.
 */
const bindWords: ReadonlyMap<string, string> = new Map([
  ['bind', ''],
  ['rbind', 'rec'],
  ['rprivate', ''],
  ['rw', ''],
  ['rro', 'ro'],
  ...['ro', 'nosuid', 'nodev', 'noexec'].map((word) => [word, word] as const),
]);

function plannedBind({ type, source, destination, options }: OciMount): PlannedBind | undefined {
  const words = options.map((option) => bindWords.get(option));
  const plain = posix.resolve('/', destination) === destination && !/^\/(proc|sys)(\/|$)|^\/(dev)?$/.test(destination);
  if (type !== 'bind' || !plain || words.includes(undefined)) return undefined;
  return { source, target: destination, flags: words.filter((word) => word !== '').join(',') };
}

function equal(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
