/**
 * From a layer's tar stream to a tar stream that `tar2sqfs` can be trusted with.
 *
 * Files stream through. Folders, hard links and whiteouts need no data and are written at the
 * end, when it is known which of several entries of one name counts and which folders are opaque.
 */
import { malformed } from '../json.ts';
import type { ImageLimits } from '../limits.ts';
import { ByteReader } from './byte-reader.ts';
import {
  blockSize,
  decodeHeader,
  encodeHeader,
  isZeroBlock,
  padding,
  type TarExtension,
  type TarHeader,
} from './header.ts';
import { canonicalName, readWhiteout, shown } from './names.ts';
import { readPax, sparse } from './pax.ts';
import { LayerTree } from './tree.ts';

/** Takes the new tar stream; returns a promise when the caller must wait. */
export type TarSink = (chunk: Buffer) => Promise<void> | void;

/** What came of it. */
export interface TransformResult {
  /**
   * Entries that later ones replace, by number. When it is not empty the output is incomplete:
   * run again with these skipped.
   */
  readonly replaced: ReadonlySet<number>;
  readonly entries: number;
  /** Device nodes left out: `/dev` of a container is made by its runtime, and 0/0 would be a whiteout. */
  readonly droppedDevices: number;
}

const noXattrs: ReadonlyMap<string, string> = new Map();
const noBytes = Buffer.alloc(0);
const maxMtime = 0xffffffff;

/**
 * Checks and rewrites a layer.
 *
 * @param skip numbers of entries to leave out, from an earlier run over the same stream
 * @throws HuskError `invalid-argument`, `unimplemented` or `resource-exhausted`, each naming the entry
 */
export async function transformLayer(
  source: AsyncIterable<Buffer>,
  sink: TarSink,
  limits: ImageLimits,
  skip: ReadonlySet<number> = new Set(),
): Promise<TransformResult> {
  return await new Transform(source, sink, limits, skip).run();
}

class Transform {
  readonly #reader: ByteReader;
  readonly #sink: TarSink;
  readonly #limits: ImageLimits;
  readonly #skip: ReadonlySet<number>;
  readonly #tree: LayerTree;
  readonly #folders = new Map<string, TarHeader>();
  readonly #links = new Map<string, TarHeader>();
  readonly #whiteouts = new Set<string>();
  readonly #opaque = new Set<string>();
  readonly #replaced = new Set<number>();
  #number = 0;
  #droppedDevices = 0;

  constructor(source: AsyncIterable<Buffer>, sink: TarSink, limits: ImageLimits, skip: ReadonlySet<number>) {
    this.#reader = new ByteReader(source);
    this.#sink = sink;
    this.#limits = limits;
    this.#skip = skip;
    this.#tree = new LayerTree(limits);
  }

  async run(): Promise<TransformResult> {
    for (;;) {
      const header = await this.#nextHeader();
      if (header === undefined) break;
      await this.#entry(header);
      this.#number += 1;
    }
    await this.#reader.drain();
    await this.#finish();
    return { replaced: this.#replaced, entries: this.#number, droppedDevices: this.#droppedDevices };
  }

  /** The next header with what extended headers say about it. */
  async #nextHeader(): Promise<TarHeader | undefined> {
    const extension: TarExtension = { xattrs: new Map() };
    for (let extensions = 0; ; ) {
      const block = await this.#reader.read(blockSize);
      if (block === undefined || isZeroBlock(block)) {
        if (extensions > 0) throw malformed('tar', 'the stream ends after an extended header');
        return undefined;
      }
      const type = String.fromCharCode(block[156] ?? 0);
      if (!'xgLK'.includes(type)) return withoutData(decodeHeader(block, extension));
      // Global headers stand alone and count as entries; a chain of the others would escape the count.
      if (type === 'g') this.#tree.count(0);
      else extensions += 1;
      if (extensions > 8) throw malformed('tar', 'found more than 8 extended headers for one entry');
      await this.#readExtension(type, decodeHeader(block, { xattrs: new Map() }).size, extension);
    }
  }

  async #readExtension(type: string, size: number, extension: TarExtension): Promise<void> {
    if (size > this.#limits.paxBytes) throw malformed('tar', `found an extended header of ${size} bytes`);
    const data = size === 0 ? noBytes : await this.#reader.read(size);
    if (data === undefined) throw malformed('tar', 'the stream ends in an extended header');
    await this.#reader.forward(padding(size), () => undefined);
    // Global headers carry comments of git and the like; no image builder changes entries by them.
    if (type === 'g') return;
    if (type === 'x') return readPax(data, extension);
    const end = data.indexOf(0);
    const text = data.toString('latin1', 0, end < 0 ? data.length : end);
    if (type === 'L') extension.name = text;
    else extension.link = text;
  }

  async #entry(header: TarHeader): Promise<void> {
    const name = canonicalName(header.name, this.#limits);
    const whiteout = readWhiteout(name);
    if (this.#skip.has(this.#number) || whiteout.kind !== 'none') {
      this.#tree.count(name.length);
      if (whiteout.kind === 'opaque') this.#addOpaque(whiteout.folder);
      if (whiteout.kind === 'whiteout') {
        this.#tree.addParents(whiteout.path);
        this.#whiteouts.add(whiteout.path);
      }
      return await this.#skipData(header.size);
    }
    this.#tree.count(name.length + header.link.length);
    this.#tree.own(header.uid, header.gid);
    const clean = { ...header, name, mtime: Math.min(header.mtime, maxMtime) };
    if (header.type === '0' && header.name.endsWith('/')) return this.#addFolder({ ...clean, type: '5', size: 0 });
    switch (header.type) {
      case '0':
      case '7':
        return await this.#emit({ ...clean, type: '0', link: '' });
      case '1':
        return this.#addLink(clean);
      case '2':
        return await this.#emit({ ...clean, link: symlinkTarget(clean, this.#limits) });
      case '5':
        return this.#addFolder(clean);
      case '6':
        return await this.#emit({ ...clean, link: '' });
      case '3':
      case '4':
        this.#droppedDevices += 1;
        return this.#replace(name, this.#tree.addDropped(name));
      case 'S':
        throw sparse();
      default:
        throw malformed('tar', `"${shown(name)}" is of type ${JSON.stringify(header.type)}, which no layer has`);
    }
  }

  #addOpaque(folder: string): void {
    if (folder !== '') this.#tree.addFolder(folder);
    this.#opaque.add(folder);
  }

  #addFolder(header: TarHeader): void {
    this.#tree.addFolder(header.name);
    this.#folders.set(header.name, { ...header, link: '' });
  }

  #addLink(header: TarHeader): void {
    const target = canonicalName(header.link, this.#limits);
    if (target === header.name) throw malformed('tar', `hard link "${shown(target)}" leads to itself`);
    // Links are written last and by name, so that each must lead to data, not to a further link.
    const link = this.#links.get(target)?.link ?? target;
    if (this.#tree.link(target) === 'dropped') return this.#replace(header.name, this.#tree.addDropped(header.name));
    this.#tree.link(link);
    if (link === header.name) return;
    this.#replace(header.name, this.#tree.addEntry(header.name, this.#number));
    this.#links.set(header.name, { ...header, link, size: 0, xattrs: noXattrs });
  }

  async #emit(header: TarHeader): Promise<void> {
    if (header.name === '') throw malformed('tar', 'found a file in the place of the root');
    this.#replace(header.name, this.#tree.addEntry(header.name, this.#number));
    if (this.#replaced.size > 0) return await this.#skipData(header.size);
    await this.#write(encodeHeader(outward(header)));
    await this.#reader.forward(header.size + padding(header.size), this.#sink);
  }

  /** An entry of a known name: a link is forgotten, written data asks for another run. */
  #replace(name: string, earlier: number | undefined): void {
    if (earlier === undefined) return;
    if (!this.#links.delete(name)) this.#replaced.add(earlier);
  }

  async #skipData(size: number): Promise<void> {
    await this.#reader.forward(size + padding(size), () => undefined);
  }

  async #finish(): Promise<void> {
    if (this.#replaced.size > 0) return;
    for (const path of this.#whiteouts) if (this.#tree.isFolder(path)) this.#opaque.add(path);
    for (const folder of this.#opaque) {
      const header = this.#folders.get(folder) ?? impliedFolder(folder);
      const xattrs = new Map([...header.xattrs, ['trusted.overlay.opaque', 'y'] as const]);
      this.#folders.set(folder, { ...header, xattrs });
    }
    for (const header of this.#folders.values()) {
      await this.#write(encodeHeader(outward(header)));
    }
    for (const header of this.#links.values()) await this.#write(encodeHeader(outward(header)));
    for (const path of this.#whiteouts) {
      if (this.#tree.has(path) || this.#opaque.has(path.slice(0, Math.max(0, path.lastIndexOf('/'))))) continue;
      await this.#write(encodeHeader(outward({ ...impliedFolder(path), type: '3', mode: 0 })));
    }
    await this.#write(Buffer.alloc(2 * blockSize));
  }

  async #write(chunk: Buffer): Promise<void> {
    const waits = this.#sink(chunk);
    if (waits !== undefined) await waits;
  }
}

/**
 * The header as it is written. Every name begins with `./`: `tar2sqfs` looks at the first bytes of
 * its input for the magic of compressors, and a file's name must not be able to spell one.
 */
function outward(header: TarHeader): TarHeader {
  const slash = header.type === '5' && header.name !== '' ? '/' : '';
  return { ...header, name: `./${header.name}${slash}`, link: header.type === '1' ? `./${header.link}` : header.link };
}

function impliedFolder(name: string): TarHeader {
  return { name, link: '', type: '5', mode: 0o755, uid: 0, gid: 0, size: 0, mtime: 0, xattrs: noXattrs };
}

/** Links, devices, folders and pipes have no data, whatever their size field says; Go's reader agrees. */
function withoutData(header: TarHeader): TarHeader {
  return '123456'.includes(header.type) ? { ...header, size: 0 } : header;
}

function symlinkTarget(header: TarHeader, limits: ImageLimits): string {
  const { link } = header;
  if (link !== '' && link.length < limits.pathBytes && !link.includes('\0')) return link;
  throw malformed('tar', `symbolic link "${shown(header.name)}" has a target of ${link.length} bytes`);
}
