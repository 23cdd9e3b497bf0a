/** What a container wrote: bytes and files of the upper side of its overlay. */
import { lstat, readdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { FilesystemUse } from '../../src/gen/agent/v1/agent.ts';

/** A walk costs the guest time: its result is good for so long. */
const freshMs = 10_000;
/** A walk ends here; a container with more files is told to have at least so many. */
const maxEntries = 20_000;
/** Blocks that lstat counts in (stat(2)). */
const blockBytes = 512;

interface Walked {
  readonly atMs: number;
  readonly bytes: number;
  readonly inodes: number;
}

/** Counts folders, each not more often than it must. */
export class WrittenBytes {
  readonly #known = new Map<string, Promise<Walked>>();

  /** @param folder may be absent: then nothing was written */
  async of(id: string, folder: string): Promise<FilesystemUse> {
    const { bytes, inodes } = await this.#count(id, folder);
    const disk = await statfs(folder).catch(() => undefined);
    return {
      usedBytes: BigInt(bytes),
      inodesUsed: BigInt(inodes),
      totalBytes: BigInt(disk === undefined ? 0 : disk.blocks * disk.bsize),
      totalInodes: BigInt(disk?.files ?? 0),
      freeInodes: BigInt(disk?.ffree ?? 0),
    };
  }

  forget(id: string): void {
    this.#known.delete(id);
  }

  async #count(id: string, folder: string): Promise<Walked> {
    const known = this.#known.get(id);
    if (known !== undefined && performance.now() - (await known).atMs < freshMs) return await known;
    const counted = walk(folder);
    this.#known.set(id, counted);
    return await counted;
  }
}

async function walk(folder: string): Promise<Walked> {
  let bytes = 0;
  let inodes = 0;
  const folders = [folder];
  // One name at a time: the pod's containers need the guest's processor more than a count does.
  for (let at = folders.pop(); at !== undefined && inodes < maxEntries; at = folders.pop()) {
    for (const entry of await readdir(at, { withFileTypes: true }).catch(() => [])) {
      const path = join(at, entry.name);
      const stat = await lstat(path).catch(() => undefined);
      if (stat === undefined) continue;
      inodes += 1;
      bytes += stat.blocks * blockBytes;
      if (stat.isDirectory()) folders.push(path);
    }
  }
  return { atMs: performance.now(), bytes, inodes };
}
