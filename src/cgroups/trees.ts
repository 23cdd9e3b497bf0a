/** Cgroups of native pods: a tree for each pod, in which the OCI runtime makes one for each container. */
import { mkdir, readdir, readFile, realpath, rmdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { sleep } from '../base/deadline.ts';
import { HuskError, isErrno } from '../base/errors.ts';
import type { CgroupUse, ProcessesUse } from '../gen/agent/v1/agent.ts';
import { expandSlice, podCgroup, v1Controllers } from './paths.ts';
import { processDetails } from './process-details.ts';
import { readUseV1 } from './use-v1.ts';
import { readUseV2 } from './use-v2.ts';

export type CgroupDriver = 'cgroupfs' | 'systemd';

/** A container's place: CRI's cgroup_parent and the ids. */
export interface CgroupPlace {
  readonly parent: string;
  readonly sandboxId: string;
}

export interface CgroupTrees {
  readonly version: 1 | 2;
  /** `linux.cgroupsPath` of the container's OCI spec. */
  ociPath(place: CgroupPlace, containerId: string): string;
  /** Makes a cgroup of the pod that is no container's. @returns the files by which a process joins it, one in each hierarchy */
  make(place: CgroupPlace, name: string): Promise<string[]>;
  /** Makes one, and moves a process into it. */
  join(place: CgroupPlace, name: string, pid: number): Promise<void>;
  /** Makes a cgroup below the container's, for `exec --cgroup`; in one hierarchy of v1. */
  makeChild(place: CgroupPlace, containerId: string, name: string): Promise<string>;
  /** Kills what runs in the container's cgroup, or in a child of it, until nothing does. */
  kill(place: CgroupPlace, containerId: string, child?: string): Promise<void>;
  /** Removes a child cgroup if nothing runs in it any more. */
  dropChild(place: CgroupPlace, containerId: string, name: string): Promise<void>;
  /** Whether the kernel killed a process of the container for want of memory. False once the cgroup is gone. */
  oomKilled(place: CgroupPlace, containerId: string): Promise<boolean>;
  /**
   * What a container used, or with no container the whole pod; parts are absent once the cgroup is gone.
   */
  use(place: CgroupPlace, containerId: string | undefined): Promise<CgroupUse>;
  /** Descriptors, sockets and limits of a container's processes. */
  details(place: CgroupPlace, containerId: string, firstPid: number): Promise<ProcessesUse>;
  /** Kills what still runs and removes the pod's whole tree. Absent: success. */
  remove(place: CgroupPlace): Promise<void>;
}

/** A killed process leaves its cgroup within milliseconds; this is for one that is stuck in the kernel. */
const emptyDeadlineMs = 10_000;
const retryMs = 10;
/** The v1 hierarchy that `exec --cgroup` uses: it counts processes and nothing else. */
const execController = 'pids';

/** Looks at the host once. */
export async function detectCgroupTrees(driver: CgroupDriver, mount = '/sys/fs/cgroup'): Promise<CgroupTrees> {
  const names = await readdir(mount);
  if (names.includes('cgroup.controllers')) return new HostTrees(driver, 2, [mount]);
  const roots = new Set<string>();
  for (const name of names) {
    const root = await realpath(join(mount, name));
    const files: string[] = await readdir(root).catch(() => []);
    if (files.includes('cgroup.procs')) roots.add(root);
  }
  return new HostTrees(driver, 1, [...roots]);
}

/**
 * Where a container's cgroup is below a hierarchy's root, and how the OCI spec says so. Pure.
 *
 * cgroupfs: a folder of the pod's own, with the container in it. systemd: a scope directly in the
 * slice (`SLICE:PREFIX:NAME` for the OCI runtime), since systemd owns what is below a slice.
 */
export function containerCgroup(
  driver: CgroupDriver,
  { parent, sandboxId }: CgroupPlace,
  containerId: string,
): { readonly oci: string; readonly path: string } {
  if (driver === 'cgroupfs') {
    const path = `${podCgroup(parent, sandboxId)}/${containerId}`;
    return { oci: `/${path}`, path };
  }
  const slice = parent === '' ? 'system.slice' : basename(parent);
  if (!slice.endsWith('.slice')) {
    throw new HuskError(
      'invalid-argument',
      `config.linux.cgroup_parent "${parent.slice(0, 200)}": the cgroup driver is systemd, wanted a slice`,
    );
  }
  return { oci: `${slice}:husk:${containerId}`, path: `${expandSlice(slice)}/husk-${containerId}.scope` };
}

class HostTrees implements CgroupTrees {
  readonly version: 1 | 2;
  readonly #driver: CgroupDriver;
  readonly #roots: readonly string[];

  constructor(driver: CgroupDriver, version: 1 | 2, roots: readonly string[]) {
    this.version = version;
    this.#driver = driver;
    this.#roots = roots;
  }

  ociPath(place: CgroupPlace, containerId: string): string {
    return containerCgroup(this.#driver, place, containerId).oci;
  }

  async make({ parent, sandboxId }: CgroupPlace, name: string): Promise<string[]> {
    const counted = this.#roots.filter((root) => this.version === 2 || v1Controllers.includes(basename(root)));
    return await Promise.all(
      counted.map(async (root) => {
        const folder = join(root, podCgroup(parent, sandboxId), name);
        await mkdir(folder, { recursive: true });
        return join(folder, 'cgroup.procs');
      }),
    );
  }

  async join(place: CgroupPlace, name: string, pid: number): Promise<void> {
    await Promise.all((await this.make(place, name)).map((file) => writeFile(file, String(pid))));
  }

  async makeChild(place: CgroupPlace, containerId: string, name: string): Promise<string> {
    await mkdir(join(this.#countingFolder(place, containerId), name));
    return this.version === 2 ? name : `${execController}:${name}`;
  }

  async dropChild(place: CgroupPlace, containerId: string, name: string): Promise<void> {
    await rmdir(join(this.#countingFolder(place, containerId), name)).catch(() => undefined);
  }

  async kill(place: CgroupPlace, containerId: string, child = ''): Promise<void> {
    await killUntilEmpty(join(this.#countingFolder(place, containerId), child));
  }

  async oomKilled(place: CgroupPlace, containerId: string): Promise<boolean> {
    const { path } = containerCgroup(this.#driver, place, containerId);
    const root = this.#roots.find((each) => this.version === 2 || basename(each) === 'memory');
    if (root === undefined) return false;
    const file = this.version === 2 ? 'memory.events' : 'memory.oom_control';
    const text = await readFile(join(root, path, file), 'latin1').catch(() => '');
    return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? '0') > 0;
  }

  async use(place: CgroupPlace, containerId: string | undefined): Promise<CgroupUse> {
    const path =
      containerId === undefined ? this.#podPath(place) : containerCgroup(this.#driver, place, containerId).path;
    if (this.version === 2) return readUseV2(join(this.#roots[0] ?? '', path));
    // Controllers that share a hierarchy have one folder: `cpu,cpuacct`.
    const byController = this.#roots.flatMap((root) =>
      basename(root)
        .split(',')
        .map((controller): [string, string] => [controller, join(root, path)]),
    );
    return readUseV1(new Map(byController));
  }

  async details(place: CgroupPlace, containerId: string, firstPid: number): Promise<ProcessesUse> {
    return await processDetails(this.#countingFolder(place, containerId), firstPid);
  }

  /** systemd owns the pod's slice, and the containers' scopes lie in it. */
  #podPath({ parent, sandboxId }: CgroupPlace): string {
    if (this.#driver === 'cgroupfs') return podCgroup(parent, sandboxId);
    return expandSlice(parent === '' ? 'system.slice' : basename(parent));
  }

  async remove({ parent, sandboxId }: CgroupPlace): Promise<void> {
    const folders = this.#roots.map((root) => join(root, podCgroup(parent, sandboxId)));
    for (const folder of folders) await removeTree(folder);
    if (parent === '') for (const folder of folders) await rmdir(dirname(folder)).catch(() => undefined);
  }

  /** Every process of the container is in this folder or below it. */
  #countingFolder(place: CgroupPlace, containerId: string): string {
    const root = this.#roots.find((each) => this.version === 2 || basename(each) === execController);
    if (root === undefined) throw new HuskError('failed-precondition', 'cgroups: the "pids" controller is not mounted');
    return join(root, containerCgroup(this.#driver, place, containerId).path);
  }
}

/** The folder and all below it, deepest first. */
async function treeOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const below: string[] = [];
  for (const entry of entries) if (entry.isDirectory()) below.push(...(await treeOf(join(folder, entry.name))));
  return [...below, folder];
}

async function killUntilEmpty(folder: string): Promise<void> {
  const end = performance.now() + emptyDeadlineMs;
  for (;;) {
    const pids: number[] = [];
    for (const each of await treeOf(folder)) pids.push(...(await pidsOf(each)));
    if (pids.length === 0) return;
    for (const pid of pids) kill(pid);
    if (performance.now() > end) {
      throw new HuskError('internal', `kill what is in cgroup "${folder}": ${pids.length} processes do not end`);
    }
    await sleep(retryMs);
  }
}

async function pidsOf(folder: string): Promise<number[]> {
  const text = await readFile(join(folder, 'cgroup.procs'), 'latin1').catch(() => '');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid > 1);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (caught) {
    if (!isErrno(caught, 'ESRCH')) throw caught;
  }
}

async function removeTree(folder: string): Promise<void> {
  await killUntilEmpty(folder);
  const end = performance.now() + emptyDeadlineMs;
  for (const each of await treeOf(folder)) {
    for (;;) {
      try {
        await rmdir(each);
        break;
      } catch (caught) {
        if (isErrno(caught, 'ENOENT')) break;
        if (!isErrno(caught, 'EBUSY') || performance.now() > end) {
          throw new HuskError('internal', `remove cgroup "${each}": still busy`, { cause: caught });
        }
      }
      await sleep(retryMs);
    }
  }
}
