/** /proc/self/mountinfo (proc(5)). Pure. */

export interface MountEntry {
  /** `major:minor`. */
  readonly device: string;
  /** The folder of the file system that is shown. */
  readonly root: string;
  readonly target: string;
  readonly type: string;
}

/** Reads the table; lines that are not understood are left out. */
export function parseMountTable(text: string): MountEntry[] {
  return text.split('\n').flatMap((line): MountEntry[] => {
    const [left = '', right = ''] = line.split(' - ', 2);
    const [, , device, root, target] = left.split(' ');
    const [type] = right.split(' ');
    if (device === undefined || root === undefined || target === undefined || type === undefined) return [];
    return [{ device, root: plain(root), target: plain(target), type }];
  });
}

/** The uppermost mount at exactly this path. */
export function mountAt(table: readonly MountEntry[], path: string): MountEntry | undefined {
  return table.findLast(({ target }) => target === path);
}

/** The kernel writes blanks and backslashes as three octal digits. */
function plain(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

const subPathOf = /^(.*\/pods\/[^/]+)\/volume-subpaths\/([^/]+)\/[^/]+\/\d+$/;

/**
 * The emptyDir that a sub-path mount of the kubelet (`volume-subpaths/VOLUME/CONTAINER/INDEX`) shows a
 * part of; undefined when it is of another volume. Guest-local volumes have no files on the host, so
 * the part is looked for in the guest.
 */
export function emptyDirPart(
  table: readonly MountEntry[],
  path: string,
): { readonly path: string; readonly subPath: string } | undefined {
  const match = subPathOf.exec(path);
  const mount = mountAt(table, path);
  if (match === null || mount === undefined) return undefined;
  const volume = `${match[1]}/volumes/kubernetes.io~empty-dir/${match[2]}`;
  const own = mountAt(table, volume);
  if (own !== undefined) {
    const below = own.root === '/' ? mount.root : mount.root.slice(own.root.length);
    return own.device === mount.device && below.startsWith('/') ? { path: volume, subPath: below.slice(1) } : undefined;
  }
  const tail = volume.slice(volume.lastIndexOf('/pods/'));
  const at = mount.root.lastIndexOf(`${tail}/`);
  return at < 0 ? undefined : { path: volume, subPath: mount.root.slice(at + tail.length + 1) };
}
