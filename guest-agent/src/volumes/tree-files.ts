/** Writes the files of a pushed volume. Containers cannot write where this works. */
import {
  chmodSync,
  lchownSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { type KnownNode, planTree, type Tree, type TreeNode, type TreePath } from './tree.ts';

/**
 * Brings the files below `root` from `known` to `next`, so that whoever follows a link sees
 * either all of the old or all of the new. Returns what is there now.
 *
 * @param root absolute path; its parent is there
 */
export function writeTree(
  root: string,
  known: ReadonlyMap<TreePath, KnownNode>,
  next: Tree,
): ReadonlyMap<TreePath, KnownNode> {
  const plan = planTree(known, next);
  const at = (path: TreePath): Buffer => Buffer.from(path === '' ? root : `${root}/${path}`, 'latin1');
  const node = (path: TreePath): TreeNode => next.get(path) as TreeNode;
  for (const path of plan.clear) rmSync(at(path), { recursive: true, force: true });
  for (const path of plan.make) write(at(path), node(path));
  for (const path of plan.replace) replace({ at, path, before: known.get(path) as KnownNode }, node(path));
  for (const path of plan.link) write(at(path), node(path));
  for (const path of plan.remove) rmSync(at(path), { recursive: true, force: true });
  return new Map([...next].map(([path, { kind, mode, uid, gid }]) => [path, { kind, mode, uid, gid }]));
}

function write(path: Buffer, node: TreeNode): void {
  if (node.kind === 'folder') mkdirSync(path, { recursive: false });
  else if (node.kind === 'file') writeFileSync(path, node.content, { flag: 'wx' });
  else symlinkSync(node.target, path);
  own(path, node);
}

interface Place {
  readonly at: (path: TreePath) => Buffer;
  readonly path: TreePath;
  readonly before: KnownNode;
}

function replace({ at, path, before }: Place, node: TreeNode): void {
  const target = at(path);
  const { mode, uid, gid } = node;
  if (before.kind !== node.kind || !isSame(target, node)) {
    if (path === '' && node.kind === 'file') {
      // A mounted file is this very inode: another one would not be seen.
      writeFileSync(target, node.content);
    } else {
      const temporary = at(temporaryOf(path));
      rmSync(temporary, { force: true });
      write(temporary, node);
      renameSync(temporary, target);
      return;
    }
  }
  if (before.mode !== mode || before.uid !== uid || before.gid !== gid) own(target, node);
}

/** The kubelet's own name for the new `..data`, so that a watcher sees the events that it expects. */
function temporaryOf(path: TreePath): TreePath {
  const slash = path.lastIndexOf('/') + 1;
  return `${path.slice(0, slash)}${path.slice(slash) === '..data' ? '..data_tmp' : '..husk_tmp'}`;
}

/** Whether what is there, of the same kind, has the wanted content. */
function isSame(path: Buffer, node: TreeNode): boolean {
  if (node.kind === 'folder') return true;
  return node.kind === 'file'
    ? readFileSync(path).equals(node.content)
    : readlinkSync(path, { encoding: 'buffer' }).equals(node.target);
}

function own(path: Buffer, { kind, mode, uid, gid }: TreeNode): void {
  lchownSync(path, uid, gid);
  if (kind !== 'link') chmodSync(path, mode);
}
