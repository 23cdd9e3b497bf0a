/** Swaps more files in under the layers disk of a running VM. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '../../base/atomic-file.ts';
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

/**
 * Written before anything is sent to QEMU. Whether `next` came to be, QEMU knows. The file ends with the
 * VM, so it need not survive the machine. Of an earlier version only `current` is sure to be there.
 */
interface LayoutFile {
  readonly current: Layout;
  readonly next?: Layout;
  /** Descriptor sets from here on were never used. */
  readonly freeSet?: number;
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
/** Sets of the layers disk; below are those of the argument vector and those that QEMU numbers itself. */
const firstSet = 1_000;

/** Files that this part leaves in the state folder. */
export const layersDiskFiles = [layoutName, descriptorName];

const nodeOf = (generation: number): string => `layers-${generation}`;

export class LayersDisk {
  readonly #options: LayersDiskOptions;
  readonly #qmp: () => QmpClient;
  #layout: Layout = empty;
  #freeSet = firstSet;
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
    const { current, next = current, freeSet = firstSet } = kept;
    this.#layout = current;
    this.#freeSet = freeSet;
    const [found] = await this.#qmp().execute(
      [{ name: 'query-named-block-nodes', args: { flat: true } }],
      swapTimeoutMs,
    );
    const name = nodeOf(next.generation);
    if (Array.isArray(found) && found.some((node) => asRecord(node)?.['node-name'] === name)) this.#layout = next;
  }

  /** One swap after the other. */
  attach(files: readonly LayerFile[], signal?: AbortSignal): Promise<LayerRange[]> {
    const result = this.#turn.then(() => this.#attach(files, signal));
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #attach(files: readonly LayerFile[], signal: AbortSignal | undefined): Promise<LayerRange[]> {
    const placed = placeLayers(this.#layout.layers, files);
    if (placed.length > 0) await this.#add(placed, signal);
    return files.map((file) => {
      const layer = this.#layout.layers.find((candidate) => candidate.path === file.path);
      if (layer === undefined) throw new HuskError('internal', `attach layer "${file.path}": it has no place`);
      return { offsetBytes: layer.offsetBytes, sizeBytes: layer.sizeBytes };
    });
  }

  /** One process hands over all files. The numbers of their sets are ours, so that the descriptor can name them ahead. */
  async #add(placed: ReturnType<typeof placeLayers>, signal: AbortSignal | undefined): Promise<void> {
    const { stateFolder, sendfd, fdSocket, zeroFile } = this.#options;
    const { generation, zeroSet: knownZeros, layers } = this.#layout;
    const from = this.#freeSet;
    const zeros = generation === 0 ? [zeroFile] : [];
    const zeroSet = generation === 0 ? from : knownZeros;
    const added = placed.map(({ file, range }, index) => ({
      path: file.path,
      set: from + zeros.length + index,
      ...range,
    }));
    const next: Layout = { generation: generation + 1, zeroSet, layers: [...layers, ...added] };
    const descriptor = join(stateFolder, descriptorName);
    const paths = [...zeros, ...placed.map(({ file }) => file.path), descriptor];
    // What is sent twice, after a failure, gets other numbers.
    this.#freeSet = from + paths.length;
    const kept: LayoutFile = { current: this.#layout, next, freeSet: this.#freeSet };
    await Promise.all([
      replaceFile(descriptor, vmdkDescriptor(next.layers, zeroSet), 0o400),
      replaceFile(join(stateFolder, layoutName), JSON.stringify(kept), 0o600),
    ]);
    await sendFiles(sendfd, fdSocket, { firstSet: from, paths }, signal);
    // Not cancellable: half a swap helps nobody.
    const commands = swapCommands(generation, next.generation, this.#freeSet - 1);
    await this.#qmp().execute(commands, swapTimeoutMs);
    this.#layout = next;
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
