import { malformed } from '../json.ts';
import type { ImageLimits } from '../limits.ts';

const maxComponentBytes = 255;

/**
 * The canonical name of an entry: components joined by single slashes, the root as an empty
 * string. Leading slashes mean the root of the layer; `..` is refused wherever it leads.
 *
 * @param raw latin1, one character a byte
 * @throws HuskError `invalid-argument`
 */
export function canonicalName(raw: string, limits: ImageLimits): string {
  if (raw.length > limits.pathBytes) {
    throw malformed('tar', `found a name of ${raw.length} bytes, wanted at most ${limits.pathBytes}`);
  }
  const parts: string[] = [];
  for (const part of raw.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..') throw malformed('tar', `name "${shown(raw)}" goes upwards`);
    if (part.includes('\0')) throw malformed('tar', `name "${shown(raw)}" has a NUL`);
    if (part.length > maxComponentBytes) {
      throw malformed('tar', `found a name part of ${part.length} bytes, wanted at most ${maxComponentBytes}`);
    }
    parts.push(part);
  }
  if (parts.length > limits.pathDepth) {
    throw malformed('tar', `name "${shown(raw)}" is ${parts.length} deep, wanted at most ${limits.pathDepth}`);
  }
  return parts.join('/');
}

/** The folder of a canonical name; the root is an empty string. */
export function parentOf(name: string): string {
  const slash = name.lastIndexOf('/');
  return slash < 0 ? '' : name.slice(0, slash);
}

/** What an entry's name says about deletions in lower layers. */
export type Whiteout =
  | { readonly kind: 'none' }
  | { readonly kind: 'opaque'; readonly folder: string }
  | { readonly kind: 'whiteout'; readonly path: string }
  /** aufs's own bookkeeping, which old Docker layers carry. */
  | { readonly kind: 'ignored' };

/**
 * Reads OCI's whiteout names.
 * @see https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
 */
export function readWhiteout(name: string): Whiteout {
  if (!name.includes('.wh.')) return { kind: 'none' };
  const folder = parentOf(name);
  const base = folder === '' ? name : name.slice(folder.length + 1);
  if (/(?:^|\/)\.wh\.\.wh\./.test(folder)) return { kind: 'ignored' };
  if (/(?:^|\/)\.wh\./.test(folder)) throw malformed('tar', `name "${shown(name)}" is inside a whiteout`);
  if (!base.startsWith('.wh.')) return { kind: 'none' };
  if (base === '.wh..wh..opq') return { kind: 'opaque', folder };
  if (base.startsWith('.wh..wh.')) return { kind: 'ignored' };
  const target = base.slice(4);
  if (target === '' || target === '.' || target === '..') {
    throw malformed('tar', `whiteout "${shown(name)}" names nothing`);
  }
  return { kind: 'whiteout', path: folder === '' ? target : `${folder}/${target}` };
}

/** A name for a message: printable and short. */
export function shown(name: string): string {
  return name.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 120);
}
