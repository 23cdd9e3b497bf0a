import { HuskError } from '../../base/errors.ts';
import { malformed } from '../json.ts';
import type { TarExtension } from './header.ts';

/** The kernel's limits: XATTR_NAME_MAX, XATTR_SIZE_MAX. */
const maxXattrName = 255;
const maxXattrValue = 65_536;

/**
 * Reads the records of a PAX header into `into`. Unknown keys are skipped, as the format asks.
 *
 * @throws HuskError `invalid-argument` for records that break the format
 */
export function readPax(data: Buffer, into: TarExtension): void {
  let at = 0;
  while (at < data.length) {
    const space = data.indexOf(0x20, at);
    const digits = data.toString('latin1', at, space < 0 || space > at + 8 ? at + 8 : space);
    const length = /^[0-9]{1,7}$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    if (space < 0 || length < digits.length + 3 || end > data.length || data[end - 1] !== 0x0a) {
      throw malformed('PAX header', 'found a record whose length is wrong');
    }
    const equals = data.indexOf(0x3d, space);
    if (equals < 0 || equals >= end) throw malformed('PAX header', 'found a record without "="');
    apply(data.toString('latin1', space + 1, equals), data.toString('latin1', equals + 1, end - 1), into);
    at = end;
  }
}

function apply(key: string, value: string, into: TarExtension): void {
  if (key.startsWith('SCHILY.xattr.')) return addXattr(key.slice('SCHILY.xattr.'.length), value, into);
  if (key.startsWith('GNU.sparse.')) throw sparse();
  switch (key) {
    case 'path':
      into.name = noNul(key, value);
      return;
    case 'linkpath':
      into.link = noNul(key, value);
      return;
    case 'size':
    case 'uid':
    case 'gid':
      into[key] = decimal(key, value);
      return;
    case 'mtime':
      into.mtime = seconds(value);
      return;
    default:
  }
}

/**
 * File capabilities and the user's own attributes are kept. `trusted.*` is the host's and
 * overlayfs's language (a layer could forge redirects with it); the rest means nothing in a guest.
 */
function addXattr(name: string, value: string, into: TarExtension): void {
  if (name !== 'security.capability' && !name.startsWith('user.')) return;
  if (name.length > maxXattrName || name.length === 5 || noNul('xattr', name) === '') {
    throw malformed('PAX header', `found an attribute name of ${name.length} bytes`);
  }
  if (value.length > maxXattrValue) throw malformed('PAX header', `found an attribute of ${value.length} bytes`);
  into.xattrs.set(name, value);
}

function noNul(key: string, value: string): string {
  if (value.includes('\0')) throw malformed('PAX header', `found a NUL in "${key}"`);
  return value;
}

function decimal(key: string, value: string): number {
  const result = /^[0-9]{1,16}$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(result)) throw malformed('PAX header', `found "${key}" of "${value.slice(0, 40)}"`);
  return result;
}

function seconds(value: string): number {
  if (!/^-?[0-9]{1,16}(?:\.[0-9]{0,32})?$/.test(value)) throw malformed('PAX header', 'found a wrong "mtime"');
  return Math.max(0, Math.floor(Number(value)));
}

/** GNU's sparse files: no image builder writes them. */
export function sparse(): HuskError {
  return new HuskError('unimplemented', 'read tar: sparse files are not supported', {
    stage: 'convert-layer',
    hint: 'build the layer without the --sparse option of tar',
  });
}
