/** Cgroups of pods on the host: made, limited, emptied, removed. Both cgroup versions. */
import { access, mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { sleep } from '../base/deadline.ts';
import { HuskError, isErrno } from '../base/errors.ts';
import type { CgroupUse } from '../gen/agent/v1/agent.ts';
import { podCgroup, v1Controllers } from './paths.ts';
import { readUseV1 } from './use-v1.ts';
import { readUseV2 } from './use-v2.ts';

export interface CgroupLimits {
  /** Upper bound of the pod's memory with the VM's own, in bytes. */
  readonly memoryBytes: number;
  readonly maxPids: number;
}

export interface Cgroups {
  readonly version: 1 | 2;
  /** Makes the pod's cgroup and returns its directories: one in v2, one per controller in v1. */
  create(parent: string, sandboxId: string, limits: CgroupLimits): Promise<string[]>;
  /** The directories without making them. */
  paths(parent: string, sandboxId: string): string[];
  /**
   * What a cgroup used, by its directories as `create` and `paths` give them, or by those below them.
   * One that is gone: every part is absent.
   */
  use(directories: readonly string[]): Promise<CgroupUse>;
  /** Kills what still runs in it and removes it. Absent: success. */
  remove(parent: string, sandboxId: string): Promise<void>;
}

/** A killed process leaves its cgroup within milliseconds; this is for one that is stuck in the kernel. */
const emptyDeadlineMs = 10_000;
const retryMs = 10;

/**
 * Looks at the host once and returns the cgroups of its version.
 * @param standIn parent of pods that name none; one for each daemon, since it goes with its last pod
 */
export async function detectCgroups(mount = '/sys/fs/cgroup', standIn = 'husk'): Promise<Cgroups> {
  const unified = await exists(join(mount, 'cgroup.controllers'));
  const hierarchies: string[] = [];
  if (unified) hierarchies.push(mount);
  else {
    for (const controller of v1Controllers) {
      if (await exists(join(mount, controller, 'cgroup.procs'))) hierarchies.push(join(mount, controller));
    }
  }
  if (hierarchies.length === 0) {
    throw new HuskError(
      'failed-precondition',
      `cgroups at "${mount}": neither a v2 hierarchy nor v1 controllers found`,
      {
        hint: 'mount cgroup2 at /sys/fs/cgroup',
      },
    );
  }
  return new HostCgroups(unified ? 2 : 1, hierarchies, standIn);
}

class HostCgroups implements Cgroups {
  readonly version: 1 | 2;
  readonly #hierarchies: readonly string[];
  readonly #standIn: string;

  constructor(version: 1 | 2, hierarchies: readonly string[], standIn: string) {
    this.version = version;
    this.#hierarchies = hierarchies;
    this.#standIn = standIn;
  }

  paths(parent: string, sandboxId: string): string[] {
    return this.#hierarchies.map((root) => join(root, podCgroup(parent, sandboxId, this.#standIn)));
  }

  async use(directories: readonly string[]): Promise<CgroupUse> {
    if (this.version === 2) return readUseV2(directories[0] ?? '');
    const byController = this.#hierarchies.flatMap((root): [string, string][] => {
      const directory = directories.find((path) => path.startsWith(`${root}/`));
      return directory === undefined ? [] : [[basename(root), directory]];
    });
    return readUseV1(new Map(byController));
  }

  async create(parent: string, sandboxId: string, limits: CgroupLimits): Promise<string[]> {
    const paths = this.paths(parent, sandboxId);
    await Promise.all(
      paths.map(async (path, index) => {
        await mkdir(path, { recursive: true });
        if (this.version === 2) await delegate(this.#hierarchies[index] as string, path);
        await this.#limit(path, limits);
      }),
    );
    return paths;
  }

  async #limit(path: string, limits: CgroupLimits): Promise<void> {
    const knobs: readonly (readonly [file: string, value: number])[] =
      this.version === 2
        ? [
            ['memory.max', limits.memoryBytes],
            ['pids.max', limits.maxPids],
          ]
        : path.includes('/memory/')
          ? [['memory.limit_in_bytes', limits.memoryBytes]]
          : path.includes('/pids/')
            ? [['pids.max', limits.maxPids]]
            : [];
    for (const [file, value] of knobs) await writeFile(join(path, file), String(value));
  }

  async remove(parent: string, sandboxId: string): Promise<void> {
    const paths = this.paths(parent, sandboxId);
    await Promise.all(paths.map(killAll));
    await Promise.all(paths.map(removeWhenEmpty));
    if (parent === '') await Promise.all(paths.map((path) => rmdir(dirname(path)).catch(() => undefined)));
  }
}

/** v2: a controller works in a cgroup only when every one above hands it down. */
async function delegate(root: string, path: string): Promise<void> {
  const above: string[] = [];
  for (let at = dirname(path); at.length >= root.length; at = dirname(at)) above.unshift(at);
  for (const folder of above) {
    await writeFile(join(folder, 'cgroup.subtree_control'), '+memory +pids +cpu').catch((caught: unknown) => {
      throw new HuskError('failed-precondition', `hand controllers down in cgroup "${folder}": refused by the kernel`, {
        cause: caught,
      });
    });
  }
}

async function killAll(path: string): Promise<void> {
  const text = await readFile(join(path, 'cgroup.procs'), 'utf8').catch(() => '');
  for (const line of text.split('\n')) {
    const pid = Number(line);
    if (line === '' || !Number.isInteger(pid) || pid <= 1) continue;
    try {
      process.kill(pid, 'SIGKILL');
    } catch (caught) {
      if (!isErrno(caught, 'ESRCH')) throw caught;
    }
  }
}

async function removeWhenEmpty(path: string): Promise<void> {
  const until = performance.now() + emptyDeadlineMs;
  for (;;) {
    try {
      return await rmdir(path);
    } catch (caught) {
      if (isErrno(caught, 'ENOENT')) return;
      if (!isErrno(caught, 'EBUSY') || performance.now() > until) {
        throw new HuskError('internal', `remove cgroup "${path}": still busy`, { cause: caught });
      }
    }
    await killAll(path);
    await sleep(retryMs);
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
