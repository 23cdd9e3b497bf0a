/** What a native pod uses: cgroups and interface of the host, and what its containers wrote. */

import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../base/exec.ts';
import { ContainerUse, type FilesystemUse } from '../gen/agent/v1/agent.ts';
import type { SandboxRecord } from '../pod/records.ts';
import type { PodUse } from '../pod/usage.ts';
import type { NativeContext } from './context.ts';
import type { LiveContainer } from './live-containers.ts';
import { containerPlaces, podPlaces } from './places.ts';
import { readPidFile } from './processes.ts';

/** A count of what was written is good for so long. */
const freshMs = 10_000;
/** A container with so many files that this does not do is told of without what it wrote. */
const countMs = 5_000;

/** Counts what containers wrote, each not more often than it must. */
export class WrittenBytes {
  readonly #known = new Map<string, { readonly atMs: number; readonly count: Promise<FilesystemUse | undefined> }>();

  of(id: string, folder: string): Promise<FilesystemUse | undefined> {
    const known = this.#known.get(id);
    if (known !== undefined && performance.now() - known.atMs < freshMs) return known.count;
    const count = countFolder(folder).catch(() => undefined);
    this.#known.set(id, { atMs: performance.now(), count });
    return count;
  }

  forget(id: string): void {
    this.#known.delete(id);
  }
}

/** du(1) opens folders without following links: what the container does meanwhile leads it nowhere. */
async function countFolder(folder: string): Promise<FilesystemUse> {
  const du = async (unit: string): Promise<bigint> => {
    const text = await run('du', ['--summarize', '--one-file-system', unit, folder], { timeoutMs: countMs });
    return BigInt(/^[0-9]+/.exec(text)?.[0] ?? 0);
  };
  const [usedBytes, inodesUsed, disk] = await Promise.all([du('--block-size=1'), du('--inodes'), statfs(folder)]);
  return {
    usedBytes,
    inodesUsed,
    totalBytes: BigInt(disk.blocks * disk.bsize),
    totalInodes: BigInt(disk.files),
    freeInodes: BigInt(disk.ffree),
  };
}

/** Looks at the pod and all its containers. */
export async function podUse(look: {
  readonly context: Pick<NativeContext, 'options'>;
  readonly sandbox: SandboxRecord;
  readonly cgroupParent: string;
  readonly containers: readonly LiveContainer[];
  readonly written: WrittenBytes;
  readonly details: boolean;
}): Promise<PodUse> {
  const { context, sandbox, containers } = look;
  const { cgroups, network } = context.options;
  const place = { parent: look.cgroupParent, sandboxId: sandbox.id };
  const pod = podPlaces(context.options, sandbox.id);
  const useOf = async ({ id }: LiveContainer): Promise<[string, ContainerUse]> => {
    const places = containerPlaces(pod, id);
    const pid = look.details ? await readPidFile(places.pidFile) : undefined;
    const [cgroup, writableLayer, processes] = await Promise.all([
      cgroups.use(place, id),
      look.written.of(id, join(places.data, 'upper')),
      pid === undefined ? undefined : cgroups.details(place, id, pid),
    ]);
    return [id, { containerId: id, cgroup, writableLayer, processes }];
  };
  const [use, interfaces, ...each] = await Promise.all([
    cgroups.use(place, undefined),
    network.use(sandbox.id),
    ...containers.map(useOf),
  ]);
  return { pod: use, interfaces, containers: new Map(each), writableFolder: pod.data };
}
