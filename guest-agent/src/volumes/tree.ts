/** The files of a pushed volume: what the host sent, and the steps from one state to the next. Pure. */
import { HuskError } from '../../../src/base/errors.ts';
import type { TreeEntry } from '../../../src/gen/agent/v1/agent.ts';

/** Names are bytes: each character of a path stands for one (latin1). */
export type TreePath = string;

interface Owned {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}
export type TreeNode = Owned &
  (
    | { readonly kind: 'folder' }
    | { readonly kind: 'file'; readonly content: Buffer }
    | { readonly kind: 'link'; readonly target: Buffer }
  );
/** What is kept of a node once it is written: its content can be read back. */
export type KnownNode = Owned & { readonly kind: TreeNode['kind'] };

/** By path, parents first. */
export type Tree = ReadonlyMap<TreePath, TreeNode>;

/** The paths of each step, in the order in which the steps run. */
export interface TreePlan {
  /** Stand in the way of something of another kind. */
  readonly clear: readonly TreePath[];
  /** Folders and files that are new: nothing that a reader uses points to them yet. */
  readonly make: readonly TreePath[];
  /** Are there already: replaced by rename where they differ. */
  readonly replace: readonly TreePath[];
  readonly link: readonly TreePath[];
  readonly remove: readonly TreePath[];
}

const maxPathBytes = 4096;

/**
 * Puts entries together.
 * @throws HuskError `invalid-argument` for a path that is not plain or has no folder above it
 */
export function treeOf(entries: readonly TreeEntry[]): Tree {
  const tree = new Map<TreePath, TreeNode>();
  let last: TreePath | undefined;
  for (const entry of entries) {
    const path = entry.path.toString('latin1');
    const before = tree.get(path);
    if (before === undefined) {
      checkPath(path, tree);
      tree.set(path, nodeOf(entry, path));
    } else if (path === last && before.kind === 'file' && entry.kind?.$case === 'content') {
      tree.set(path, { ...before, content: Buffer.concat([before.content, entry.kind.value]) });
    } else {
      throw invalid(path, 'is there twice');
    }
    last = path;
  }
  if (tree.size === 0) throw invalid('', 'no entries');
  return tree;
}

/** The steps from what is there to what is wanted. */
export function planTree(known: ReadonlyMap<TreePath, KnownNode>, next: Tree): TreePlan {
  const plan = { clear: [], make: [], replace: [], link: [], remove: [] } as Record<keyof TreePlan, TreePath[]>;
  const cleared = (path: TreePath): boolean =>
    plan.clear.some((top) => path === top || path.startsWith(top === '' ? '' : `${top}/`));
  for (const [path, node] of next) {
    const before = known.get(path);
    const changes = before !== undefined && before.kind !== node.kind;
    if (changes && (before.kind === 'folder' || node.kind === 'folder')) plan.clear.push(path);
    if (before !== undefined && !cleared(path)) plan.replace.push(path);
    else plan[node.kind === 'link' ? 'link' : 'make'].push(path);
  }
  for (const path of known.keys()) if (!next.has(path) && !cleared(path)) plan.remove.push(path);
  plan.remove.reverse();
  return plan;
}

function nodeOf({ kind, mode, uid, gid }: TreeEntry, path: TreePath): TreeNode {
  const owned = { mode: mode & 0o7777, uid, gid };
  switch (kind?.$case) {
    case 'folder':
      return { kind: 'folder', ...owned };
    case 'content':
      return { kind: 'file', content: kind.value, ...owned };
    case 'link':
      return { kind: 'link', target: kind.value, ...owned };
    case undefined:
      throw invalid(path, 'neither folder nor file nor link');
  }
}

function checkPath(path: TreePath, tree: Tree): void {
  if (path === '' && tree.size === 0) return;
  const parts = path.split('/');
  const plain = parts.every((part) => part !== '' && part !== '.' && part !== '..' && !part.includes('\0'));
  if (!plain || path.length > maxPathBytes) throw invalid(path, 'wanted a plain relative path');
  if (tree.get(parts.slice(0, -1).join('/'))?.kind !== 'folder') throw invalid(path, 'no folder above it');
}

function invalid(path: TreePath, why: string): HuskError {
  return new HuskError('invalid-argument', `volume tree ${JSON.stringify(path.slice(0, 200))}: ${why}`);
}
