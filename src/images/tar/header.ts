/**
 * Tar header blocks: ustar, GNU and PAX, bytes to values and back.
 *
 * Names are kept as latin1 strings, one character a byte: Linux names are bytes, and a decoder
 * that repairs UTF-8 would change them. For the same reason no library is used: the usual one
 * decodes PAX values as text, which breaks the bytes of `security.capability`.
 *
 * @see https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html
 */
import { malformed } from '../json.ts';

/** Bytes of a tar block. */
export const blockSize = 512;

/** Where numbers are, and how many bytes they have. */
const numberFields = {
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
} as const;

/** One header, extended ones merged in. */
export interface TarHeader {
  readonly name: string;
  readonly link: string;
  /** The type flag; NUL counts as `0`. */
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Seconds since the epoch, whole. */
  readonly mtime: number;
  /** Name to value, latin1. */
  readonly xattrs: ReadonlyMap<string, string>;
}

/** What PAX records and GNU long names say about the header that follows. */
export interface TarExtension {
  name?: string;
  link?: string;
  size?: number;
  uid?: number;
  gid?: number;
  mtime?: number;
  xattrs: Map<string, string>;
}

/**
 * Decodes a header block.
 * @throws HuskError `invalid-argument` for a wrong checksum or number
 */
export function decodeHeader(block: Buffer, extension: TarExtension): TarHeader {
  checkSum(block);
  const type = String.fromCharCode(block[156] || 0x30);
  const isUstar = block.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = isUstar ? text(block, 345, 155) : '';
  const name = text(block, 0, 100);
  return {
    name: extension.name ?? (prefix === '' ? name : `${prefix}/${name}`),
    link: extension.link ?? text(block, 157, 100),
    type,
    mode: number(block, 'mode') & 0o7777,
    uid: extension.uid ?? number(block, 'uid'),
    gid: extension.gid ?? number(block, 'gid'),
    size: extension.size ?? number(block, 'size'),
    mtime: extension.mtime ?? Math.max(0, number(block, 'mtime')),
    xattrs: extension.xattrs,
  };
}

/** Whether a block is all zero: the end of the archive. */
export function isZeroBlock(block: Buffer): boolean {
  return block[0] === 0 && block.every((byte) => byte === 0);
}

/** Encodes a header, preceded by a PAX block when ustar's fields are too small. */
export function encodeHeader(header: TarHeader): Buffer {
  const records: string[] = [];
  if (header.name.length > 100) records.push(paxRecord('path', header.name));
  if (header.link.length > 100) records.push(paxRecord('linkpath', header.link));
  if (header.size > 0o77777777777) records.push(paxRecord('size', String(header.size)));
  if (header.uid > 0o7777777) records.push(paxRecord('uid', String(header.uid)));
  if (header.gid > 0o7777777) records.push(paxRecord('gid', String(header.gid)));
  for (const [key, value] of header.xattrs) records.push(paxRecord(`SCHILY.xattr.${key}`, value));
  const main = encodeBlock(header);
  if (records.length === 0) return main;
  const data = Buffer.from(records.join(''), 'latin1');
  const pax = encodeBlock({ ...header, name: 'pax', link: '', type: 'x', size: data.length, uid: 0, gid: 0 });
  return Buffer.concat([pax, data, Buffer.alloc(padding(data.length)), main]);
}

/** Bytes that fill up the last block of `size` bytes. */
export function padding(size: number): number {
  return (blockSize - (size % blockSize)) % blockSize;
}

function encodeBlock(header: TarHeader): Buffer {
  const block = Buffer.allocUnsafe(blockSize).fill(0);
  block.write(header.name.slice(0, 100), 0, 'latin1');
  block.write(octal(header.mode, 7), 100, 'latin1');
  block.write(octal(Math.min(header.uid, 0o7777777), 7), 108, 'latin1');
  block.write(octal(Math.min(header.gid, 0o7777777), 7), 116, 'latin1');
  block.write(octal(Math.min(header.size, 0o77777777777), 11), 124, 'latin1');
  block.write(octal(header.mtime, 11), 136, 'latin1');
  block.write('        ', 148, 'latin1');
  block.write(header.type, 156, 'latin1');
  block.write(header.link.slice(0, 100), 157, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  block.write(octal(0, 7), 329, 'latin1');
  block.write(octal(0, 7), 337, 'latin1');
  block.write(`${octal(sum(block), 6)}\0 `, 148, 'latin1');
  return block;
}

/** A PAX record counts its own length, digits included. */
function paxRecord(key: string, value: string): string {
  const rest = key.length + value.length + 3;
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0');
}

function sum(block: Buffer): number {
  let total = 0;
  // By index: the iterator of a Buffer takes four times as long, and this runs for every entry.
  for (let at = 0; at < blockSize; at += 1) total += block[at] ?? 0;
  return total;
}

function checkSum(block: Buffer): void {
  const told = number(block, 'checksum');
  let total = sum(block) + 8 * 0x20;
  for (let at = 148; at < 156; at += 1) total -= block[at] ?? 0;
  if (told !== total) throw malformed('tar header', `checksum is ${told}, the bytes give ${total}`);
}

function text(block: Buffer, start: number, length: number): string {
  const end = block.indexOf(0, start);
  return block.toString('latin1', start, end < 0 || end > start + length ? start + length : end);
}

function number(block: Buffer, field: keyof typeof numberFields): number {
  const [start, length] = numberFields[field];
  const first = block[start] ?? 0;
  if ((first & 0x80) !== 0) return base256(block.subarray(start, start + length), field);
  const digits = block
    .toString('latin1', start, start + length)
    .replace(/[\0 ]+$/, '')
    .trimStart();
  if (digits === '') return 0;
  if (!/^[0-7]+$/.test(digits)) throw malformed('tar header', `${field} is not an octal number`);
  return Number.parseInt(digits, 8);
}

/** GNU's form for numbers that octal cannot hold: the top bit set, two's complement below. */
function base256(bytes: Buffer, field: string): number {
  if (((bytes[0] ?? 0) & 0x40) !== 0) {
    if (field === 'mtime') return -1;
    throw malformed('tar header', `${field} is negative`);
  }
  let value = (bytes[0] ?? 0) & 0x3f;
  for (const byte of bytes.subarray(1)) value = value * 256 + byte;
  if (!Number.isSafeInteger(value)) throw malformed('tar header', `${field} is beyond 2^53`);
  return value;
}
