import { HuskError } from '../../base/errors.ts';
import { malformed } from '../json.ts';
import type { ImageLimits } from '../limits.ts';
import { parentOf, shown } from './names.ts';

/** Stands for a folder, where other entries have their number in the stream. */
const folder = -1;
/** Stands for an entry that is left out, such as a device node. */
const dropped = -2;
/** The id table of squashfs holds 65 536 numbers. */
const maxOwners = 65_535;

/**
 * The names of a layer seen so far, and what they are. Decides what a later entry of the same
 * name means. Work per entry is bounded by its depth, and every implied folder counts as an entry.
 */
export class LayerTree {
  readonly #limits: ImageLimits;
  readonly #kinds = new Map<string, number>([['', folder]]);
  readonly #linked = new Set<string>();
  readonly #owners = new Set<number>();
  #entries = 0;
  #nameBytes = 0;

  constructor(limits: ImageLimits) {
    this.#limits = limits;
  }

  /** Counts an entry and the bytes that are kept of it. */
  count(bytes: number): void {
    this.#entries += 1;
    this.#nameBytes += bytes;
    if (this.#entries > this.#limits.entries) throw tooMany(`${this.#limits.entries} entries`);
    if (this.#nameBytes > this.#limits.nameBytes) throw tooMany(`${this.#limits.nameBytes} bytes of names`);
  }

  /** Counts an owner. */
  own(uid: number, gid: number): void {
    for (const id of [uid, gid]) {
      if (id > 0xfffffffe) throw malformed('tar', `found owner ${id}, wanted at most 4294967294`);
      this.#owners.add(id);
    }
    if (this.#owners.size > maxOwners) throw tooMany(`${maxOwners} different owners`);
  }

  /** Notes a folder. */
  addFolder(name: string): void {
    const kind = this.#kinds.get(name);
    if (kind === folder) return;
    if (kind !== undefined) throw malformed('tar', `"${shown(name)}" is a file and a folder in one layer`);
    this.addParents(name);
    this.#kinds.set(name, folder);
  }

  /**
   * Notes an entry that is no folder.
   * @returns the number of the earlier entry of that name, which this one replaces
   */
  addEntry(name: string, number: number): number | undefined {
    const kind = this.#kinds.get(name);
    if (kind === folder) throw malformed('tar', `"${shown(name)}" is a folder and a file in one layer`);
    if (kind !== undefined && this.#linked.has(name)) {
      throw malformed('tar', `"${shown(name)}" is replaced after a hard link was made to it`);
    }
    if (kind === undefined) this.addParents(name);
    this.#kinds.set(name, number);
    return kind === dropped ? undefined : kind;
  }

  /** Notes an entry that is left out. */
  addDropped(name: string): number | undefined {
    return this.addEntry(name, dropped);
  }

  /** Notes that something links to the name, and says whether it may: `dropped` targets take their links along. */
  link(target: string): 'linked' | 'dropped' {
    const kind = this.#kinds.get(target);
    if (kind === dropped) return 'dropped';
    if (kind === undefined || kind === folder) {
      throw malformed('tar', `hard link to "${shown(target)}": wanted an earlier file of the same layer`);
    }
    this.#linked.add(target);
    return 'linked';
  }

  isFolder(name: string): boolean {
    return this.#kinds.get(name) === folder;
  }

  has(name: string): boolean {
    return this.#kinds.has(name);
  }

  /** Notes the folders above a name. */
  addParents(name: string): void {
    for (let at = parentOf(name); ; at = parentOf(at)) {
      const kind = this.#kinds.get(at);
      if (kind === folder) return;
      if (kind !== undefined) throw malformed('tar', `"${shown(at)}" is a file and a folder in one layer`);
      this.count(at.length);
      this.#kinds.set(at, folder);
    }
  }
}

function tooMany(what: string): HuskError {
  return new HuskError('resource-exhausted', `convert layer: found more than ${what}`, { stage: 'convert-layer' });
}
