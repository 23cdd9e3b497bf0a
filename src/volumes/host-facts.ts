/** Looks at a mount's host path. Nothing is opened: a fifo would block, a device would act. */
import type { Stats } from 'node:fs';
import { mkdir, readFile, realpath, stat, statfs } from 'node:fs/promises';
import { HuskError, isErrno } from '../base/errors.ts';
import type { HostFacts } from './kinds.ts';
import { emptyDirPart, mountAt, parseMountTable } from './mount-table.ts';

/**
 * What stands at the path. With `make`, a folder is made where nothing is, as containerd and CRI-O do for mounts
 * (containerd: internal/cri/opts, "osi.MkdirAll"). Symbolic links are followed, once: afterwards
 * only the path that was found is used.
 *
 * @throws HuskError `failed-precondition` when it cannot be looked at or made
 */
export async function hostFacts(hostPath: string, field: 'mounts' | 'devices', make: boolean): Promise<HostFacts> {
  try {
    const path = await realpath(hostPath).catch(async (caught: unknown) => {
      if (!make || !isErrno(caught, 'ENOENT')) throw caught;
      await mkdir(hostPath, { recursive: true, mode: 0o755 });
      return realpath(hostPath);
    });
    return await factsOf(path);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new HuskError('failed-precondition', `config.${field}.host_path "${hostPath.slice(0, 200)}": ${why}`, {
      cause,
      stage: 'volumes',
    });
  }
}

async function factsOf(path: string): Promise<HostFacts> {
  const stats = await stat(path);
  const type = typeOf(stats);
  const { mode, uid, gid, size } = stats;
  const facts = { path, type, mode: mode & 0o7777, uid, gid, sizeBytes: size };
  if (!path.includes('/pods/')) return facts;
  const table = parseMountTable(await readFile('/proc/self/mountinfo', 'utf8'));
  return {
    ...facts,
    tmpfsBytes: type === 'folder' ? await tmpfsBytes(table, path) : undefined,
    partOf: emptyDirPart(table, path),
  };
}

async function tmpfsBytes(table: ReturnType<typeof parseMountTable>, path: string): Promise<number | undefined> {
  if (mountAt(table, path)?.type !== 'tmpfs') return undefined;
  const { blocks, bsize } = await statfs(path);
  return blocks * bsize;
}

function typeOf(stats: Stats): HostFacts['type'] {
  if (stats.isDirectory()) return 'folder';
  if (stats.isFile()) return 'file';
  if (stats.isBlockDevice()) return 'block';
  if (stats.isSocket()) return 'socket';
  return stats.isFIFO() ? 'fifo' : 'character';
}
