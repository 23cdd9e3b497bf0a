/** The pod's volumes: made once, there until the pod ends. */
import { mkdir, statfs } from 'node:fs/promises';
import { withDeadline } from '../../../src/base/deadline.ts';
import { HuskError } from '../../../src/base/errors.ts';
import type {
  BlockVolume,
  ImageVolume,
  TmpfsVolume,
  TreeEntry,
  Volume,
  VolumeTree,
} from '../../../src/gen/agent/v1/agent.ts';
import { op, type SysOp } from '../../../src/guest/sys-batch.ts';
import { podPlaces } from '../places.ts';
import type { Pod } from '../pod.ts';
import { runTool } from '../tool.ts';
import type { PodIds } from '../user-ids.ts';
import { diskOf, growDisk, mountDisk } from './block.ts';
import { type KnownNode, type TreePath, treeOf } from './tree.ts';
import { writeTree } from './tree-files.ts';

type Kind = NonNullable<Volume['kind']>['$case'];

/** A volume that is there. */
export interface MadeVolume {
  readonly kind: Kind;
  /** What is mounted into containers: a folder, or one file. */
  readonly source: string;
  readonly isFile: boolean;
  /** A disk without a file system: `source` is its device. */
  readonly isDevice: boolean;
}

interface TreeState {
  readonly known: ReadonlyMap<TreePath, KnownNode>;
  /** Of a state that is still coming in. */
  readonly waiting: readonly TreeEntry[];
}

/** The host keeps to a few MiB for each tree; more than this is a mistake that would eat the pod's memory. */
const maxTreeBytes = 16 * 1024 * 1024;

export class Volumes {
  readonly #pod: Pod;
  readonly #made = new Map<string, MadeVolume>();
  readonly #trees = new Map<string, TreeState>();
  #fileServer: Promise<void> | undefined;
  #mountedAhead = false;

  constructor(pod: Pod) {
    this.#pod = pod;
  }

  /** @throws HuskError `not-found` */
  get(id: string): MadeVolume {
    const volume = this.#made.get(id);
    if (volume !== undefined) return volume;
    throw new HuskError('not-found', `volume "${id.slice(0, 64)}": the guest has none with this id`);
  }

  /**
   * Makes the volume; one that is there stays. A tree becomes what is asked, and the file system of a disk as large
   * as the disk.
   * @throws HuskError `invalid-argument`, `already-exists` when it is there as another kind
   */
  async put({ id, kind, idMapped }: Volume): Promise<void> {
    if (!/^[0-9a-f]{1,64}$/.test(id)) throw invalid(id, 'wanted hex digits as its id');
    if (kind === undefined) throw invalid(id, 'no kind');
    const ids = idMapped ? this.#pod.ids : undefined;
    if (idMapped && ids === undefined) throw invalid(id, 'mapped ids, but the pod has no user namespace');
    await this.#pod.locks.run(`volume ${id}`, async () => {
      const made = this.#made.get(id);
      if (made !== undefined && made.kind !== kind.$case)
        throw new HuskError('already-exists', `volume "${id}": it is there as "${made.kind}", not "${kind.$case}"`);
      if (kind.$case === 'tree') return await this.#putTree(id, kind.value, ids);
      if (made !== undefined) {
        if (kind.$case === 'block' && !made.isDevice && !kind.value.readonly)
          await this.#pod.sys.run(growDisk(await diskOf(kind.value.serial), made.source));
        return;
      }
      const source = await this.#make(id, kind, ids);
      const isFile = kind.$case === 'share' && kind.value.name.startsWith('f');
      const isDevice = kind.$case === 'block' && kind.value.fsType === '';
      this.#made.set(id, { kind: kind.$case, source, isFile, isDevice });
    });
  }

  /** Mounts the file server before there is one: done in the template, so that a clone finds it done. */
  async mountAhead(): Promise<void> {
    await mountFileServer(this.#pod, podPlaces(this.#pod.settings).shareFolder, ['ahead']);
    this.expectFileServer();
  }

  /** It is mounted. */
  expectFileServer(): void {
    this.#mountedAhead = true;
  }

  async #folder(id: string): Promise<string> {
    const folder = `${podPlaces(this.#pod.settings).volumesFolder}/${id}`;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return folder;
  }

  async #make(
    id: string,
    kind: Exclude<NonNullable<Volume['kind']>, { $case: 'tree' }>,
    ids: PodIds | undefined,
  ): Promise<string> {
    const root = `${await this.#folder(id)}/root`;
    switch (kind.$case) {
      case 'tmpfs':
        await this.#pod.sys.run(tmpfsOps(root, owned(kind.value, ids)));
        return root;
      case 'share':
        return this.#share(kind.value.name);
      case 'image':
        await this.#mountImage(root, kind.value, ids !== undefined);
        return root;
      case 'block':
        return this.#disk(root, kind.value);
    }
  }

  async #disk(root: string, volume: BlockVolume): Promise<string> {
    const device = await diskOf(volume.serial);
    if (volume.fsType === '') return device;
    await this.#pod.sys.run(mountDisk(device, root, volume));
    return root;
  }

  /** One mount for all that is shared, however many containers use it. */
  async #share(name: string): Promise<string> {
    if (!/^[dfp]\d{1,3}$/.test(name)) throw invalid(name, 'wanted a name of the file server, such as "d0"');
    const { shareFolder } = podPlaces(this.#pod.settings);
    const mount = (): Promise<void> =>
      this.#mountedAhead ? answering(shareFolder) : mountFileServer(this.#pod, shareFolder);
    this.#fileServer ??= mount().catch((caught: unknown) => {
      this.#fileServer = undefined;
      throw caught;
    });
    await this.#fileServer;
    return `${shareFolder}/${name}`;
  }

  /** Overlayfs wants two folders below: an empty one serves for an image of a single layer. */
  async #mountImage(root: string, { layers }: ImageVolume, mapped: boolean): Promise<void> {
    const { layersFolder } = podPlaces(this.#pod.settings);
    const empty = `${layersFolder}/empty`;
    await this.#pod.locks.run('layers', async () => {
      const plan = this.#pod.layers.take(layers);
      try {
        await this.#pod.sys.run([
          op('mkdir', root, String(0o755)),
          op('mkdir', empty, String(0o755)),
          op('mkdir', `${empty}2`, String(0o755)),
          ...plan.ops,
        ]);
        const shifted = mapped ? await this.#pod.shifted.over(layers, plan.folders) : undefined;
        const lower = [
          ...(shifted === undefined ? [] : [shifted]),
          ...plan.folders.toReversed(),
          ...Array.from({ length: Math.max(0, 2 - layers.length) }, () => 'empty'),
        ];
        const metacopy = shifted === undefined ? '' : ',metacopy=on';
        await this.#pod.sys.run([
          op('chdir', layersFolder),
          op(
            'mount',
            'overlay',
            root,
            'overlay',
            'ro,nodev,nosuid',
            `lowerdir=${distinct(lower).join(':')}${metacopy}`,
          ),
          op('chdir', '/'),
        ]);
      } catch (caught) {
        await this.#pod.sys.run(this.#pod.layers.giveBack(layers).ops);
        throw caught;
      }
    });
  }

  async #putTree(id: string, { entries, more }: VolumeTree, ids: PodIds | undefined): Promise<void> {
    const state = this.#trees.get(id) ?? { known: new Map(), waiting: [] };
    const waiting = [...state.waiting, ...entries.map((entry) => owned(entry, ids))];
    const bytes = waiting.reduce((sum, { path, kind }) => sum + path.length + sizeOf(kind), 0);
    if (bytes > maxTreeBytes) {
      this.#trees.set(id, { ...state, waiting: [] });
      throw new HuskError('resource-exhausted', `volume "${id}": ${bytes} bytes of files, at most ${maxTreeBytes}`);
    }
    if (more) {
      this.#trees.set(id, { ...state, waiting });
      return;
    }
    // Whatever comes of it, the next state starts anew.
    this.#trees.set(id, { ...state, waiting: [] });
    const source = `${await this.#folder(id)}/root`;
    const tree = treeOf(waiting);
    this.#trees.set(id, { known: writeTree(source, state.known, tree), waiting: [] });
    this.#made.set(id, { kind: 'tree', source, isFile: tree.get('')?.kind === 'file', isDevice: false });
  }
}

const mountMs = 20_000;

/** The file server that is mounted, once the host has started it. @throws HuskError `deadline-exceeded` */
async function answering(folder: string): Promise<void> {
  await withDeadline('answer of the file server', mountMs, undefined, () => statfs(folder));
}

async function mountFileServer(pod: Pod, folder: string, how: readonly string[] = []): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const { exitCode, stderr } = await runTool(pod.settings.filesPath, [folder, ...how], {
    timeoutMs: mountMs,
  });
  if (exitCode !== 0) throw new HuskError('unavailable', `mount the file server: ${stderr.trim().slice(0, 300)}`);
}

/** Two folders for what an overlay must not have twice. */
function distinct(lower: readonly string[]): string[] {
  return lower.map((name, index) => (lower.indexOf(name) === index ? name : `${name}2`));
}

/** As the guest calls its owner. */
function owned<T extends { uid: number; gid: number }>(what: T, ids: PodIds | undefined): T {
  return ids === undefined ? what : { ...what, uid: ids.uid(what.uid), gid: ids.gid(what.gid) };
}

function tmpfsOps(root: string, { sizeBytes, mode, uid, gid }: TmpfsVolume): SysOp[] {
  const options = `mode=${(mode & 0o7777).toString(8)},uid=${uid},gid=${gid},size=${sizeBytes}`;
  return [op('mkdir', root, String(0o700)), op('mount', 'tmpfs', root, 'tmpfs', 'nodev', options)];
}

function sizeOf(kind: TreeEntry['kind']): number {
  return kind === undefined || kind.$case === 'folder' ? 0 : kind.value.length;
}

function invalid(id: string, why: string): HuskError {
  return new HuskError('invalid-argument', `volume "${id.slice(0, 64)}": ${why}`);
}
