/** Volumes as the agent is told of them. Pure. */
import { createHash } from 'node:crypto';
import type { TreeEntry, Volume } from '../gen/agent/v1/agent.ts';
import type { TreeFile } from './snapshot.ts';

/** What one message carries of a tree, in bytes of content and names. */
export const chunkBytes = 512 * 1024;

/** The id of the volume of a source: the same for every container of the pod, and after a restart. */
export function volumeId(kind: string, source: string, idMapped = false): string {
  const hash = createHash('sha256').update(`${kind}\0${source}`);
  return (idMapped ? hash.update('\0mapped') : hash).digest('hex').slice(0, 32);
}

/** A digest of a state, to tell whether it was sent already. */
export function treeDigest(files: readonly TreeFile[]): string {
  const hash = createHash('sha256');
  for (const { path, kind, content, mode, uid, gid } of files) {
    hash.update(`${kind} ${mode} ${uid} ${gid} ${path.length} ${content.length}\n`).update(path).update(content);
  }
  return hash.digest('hex');
}

/** The state as a series of requests, each within {@link chunkBytes}; the last one applies it. */
export function treeVolumes({ id, idMapped }: Pick<Volume, 'id' | 'idMapped'>, files: readonly TreeFile[]): Volume[] {
  const chunks: TreeEntry[][] = [[]];
  let room = chunkBytes;
  const push = (entry: TreeEntry, bytes: number): void => {
    if (bytes > room && (chunks.at(-1)?.length ?? 0) > 0) {
      chunks.push([]);
      room = chunkBytes;
    }
    chunks.at(-1)?.push(entry);
    room -= bytes;
  };
  for (const file of files) for (const part of entriesOf(file)) push(part.entry, part.bytes);
  return chunks.map((entries, index) => ({
    id,
    kind: { $case: 'tree', value: { entries, more: index < chunks.length - 1 } },
    idMapped,
  }));
}

function entriesOf({ path, kind, content, mode, uid, gid }: TreeFile): { entry: TreeEntry; bytes: number }[] {
  const owned = { path, mode, uid, gid };
  if (kind === 'folder') return [{ entry: { ...owned, kind: { $case: 'folder', value: {} } }, bytes: path.length }];
  if (kind === 'link') {
    return [{ entry: { ...owned, kind: { $case: 'link', value: content } }, bytes: path.length + content.length }];
  }
  const parts = [];
  for (let at = 0; at === 0 || at < content.length; at += chunkBytes) {
    const value = content.subarray(at, at + chunkBytes);
    const entry: TreeEntry = { ...owned, kind: { $case: 'content', value } };
    parts.push({ entry, bytes: path.length + value.length });
  }
  return parts;
}
