/** Swaps more files in under the layers disk of a running VM. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../base/atomic-file.ts';
import { HuskError, isErrno } from '../../base/errors.ts';
import { sendFiles } from '../../jail/sendfd.ts';
import type { LayerFile, LayerRange } from '../hypervisor.ts';
import { nodes } from './argv.ts';
import { type PlacedLayer, placeLayers, vmdkDescriptor } from './layers.ts';
import type { QmpClient } from './qmp-client.ts';
import { asRecord, type QmpCommand } from './qmp-codec.ts';

/** What is on the disk after swap number `generation`. */
interface Layout {
  readonly generation: number;
  readonly zeroSet: number;
  readonly layers: readonly PlacedLayer[];
}

/** `next` was being swapped in when this was written; whether it came to that, QEMU knows. */
interface LayoutFile {
  readonly current: Layout;
  readonly next?: Layout;
}

export interface LayersDiskOptions {
  readonly sendfd: string;
  readonly fdSocket: string;
  readonly stateFolder: string;
  /** The sparse file of zeros. */
  readonly zeroFile: string;
}

/** Draining a busy disk under emulation takes its time; a hang must still end. */
const swapTimeoutMs = 20_000;
const layoutName = 'layers.json';
const descriptorName = 'layers.vmdk';
const empty: Layout = { generation: 0, zeroSet: -1, layers: [] };

/** Files that this part leaves in the state folder. */
export const layersDiskFiles = [layoutName, descriptorName];

const nodeOf = (generation: number): string => `layers-${generation}`;

export class LayersDisk {
  readonly #options: LayersDiskOptions;
  readonly #qmp: () => QmpClient;
  #layout: Layout = empty;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: LayersDiskOptions, qmp: () => QmpClient) {
    this.#options = options;
    this.#qmp = qmp;
  }

  /** Takes up what an earlier daemon left. A swap in flight then counts if QEMU has its node. */
  async recover(): Promise<void> {
    const path = join(this.#options.stateFolder, layoutName);
    let kept: LayoutFile;
    try {
      kept = JSON.parse(await readFile(path, 'utf8')) as LayoutFile;
    } catch (caught) {
      if (isErrno(caught, 'ENOENT')) return;
      throw new HuskError('data-loss', `read layers of a running VM from "${path}"`, { cause: caught });
    }
    this.#layout = kept.current;
    if (kept.next === undefined) return;
    const [found] = await this.#qmp().execute(
      [{ name: 'query-named-block-nodes', args: { flat: true } }],
      swapTimeoutMs,
    );
    const name = nodeOf(kept.next.generation);
    if (Array.isArray(found) && found.some((node) => asRecord(node)?.['node-name'] === name)) this.#layout = kept.next;
  }

  /** One swap after the other. */
  attach(files: readonly LayerFile[], signal?: AbortSignal): Promise<LayerRange[]> {
    const result = this.#turn.then(() => this.#attach(files, signal));
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #attach(files: readonly LayerFile[], signal: AbortSignal | undefined): Promise<LayerRange[]> {
    const placed = placeLayers(this.#layout.layers, files);
    if (placed.length > 0) {
      const next = await this.#send(placed, signal);
      await this.#swap(next);
    }
    return files.map((file) => {
      const layer = this.#layout.layers.find((candidate) => candidate.path === file.path);
      if (layer === undefined) throw new HuskError('internal', `attach layer "${file.path}": it has no place`);
      return { offsetBytes: layer.offsetBytes, sizeBytes: layer.sizeBytes };
    });
  }

  async #send(placed: ReturnType<typeof placeLayers>, signal: AbortSignal | undefined): Promise<Layout> {
    const { sendfd, fdSocket, zeroFile } = this.#options;
    const first = this.#layout.generation === 0;
    const paths = [...(first ? [zeroFile] : []), ...placed.map(({ file }) => file.path)];
    const sets = await sendFiles(sendfd, fdSocket, paths, signal);
    const zeroSet = first ? (sets.shift() as number) : this.#layout.zeroSet;
    const added = placed.map(({ file, range }, index) => ({ path: file.path, set: sets[index] as number, ...range }));
    return { generation: this.#layout.generation + 1, zeroSet, layers: [...this.#layout.layers, ...added] };
  }

  /** Not cancellable: half a swap helps nobody. */
  async #swap(next: Layout): Promise<void> {
    const { stateFolder, sendfd, fdSocket } = this.#options;
    const descriptor = join(stateFolder, descriptorName);
    await writeFileAtomic(descriptor, vmdkDescriptor(next.layers, next.zeroSet), 0o400);
    const [set] = await sendFiles(sendfd, fdSocket, [descriptor]);
    const layoutPath = join(stateFolder, layoutName);
    await writeFileAtomic(layoutPath, JSON.stringify({ current: this.#layout, next } satisfies LayoutFile), 0o600);
    await this.#qmp().execute(swapCommands(this.#layout.generation, next.generation, set as number), swapTimeoutMs);
    this.#layout = next;
    await writeFileAtomic(layoutPath, JSON.stringify({ current: next } satisfies LayoutFile), 0o600);
    await rm(descriptor, { force: true });
  }
}

function swapCommands(from: number, to: number, set: number): QmpCommand[] {
  const file = { driver: 'file', filename: `/dev/fdset/${set}`, 'read-only': true, locking: 'off' };
  const add = { driver: 'vmdk', 'node-name': nodeOf(to), 'read-only': true, file };
  const reopen = { driver: 'raw', 'node-name': nodes.layers, 'read-only': true, file: nodeOf(to) };
  return [
    { name: 'blockdev-add', args: add },
    { name: 'blockdev-reopen', args: { options: [reopen] } },
    ...(from === 0 ? [] : [{ name: 'blockdev-del', args: { 'node-name': nodeOf(from) } } as const]),
  ];
}
