/**
 * Decoding of requests, stricter than the generated code: what it would change without a word
 * is refused, because labels and names must come back byte for byte.
 */
import { HuskError } from '../base/errors.ts';

/** A request, or why its bytes are none. The handler's wrapper turns the latter into an answer. */
export type Decoded<T> = { readonly request: T } | { readonly error: HuskError };

/** U+FFFD as UTF-8: what a decoder puts in the place of bytes that are no text. */
const replacementBytes = Buffer.from('\ufffd');
/** A map entry (or another first field) with this key would set the prototype of the object that holds the map. */
const prototypeEntry = Buffer.from('\u000a\u0009__proto__');

/** Decodes a request. Never throws. */
export function decodeRequest<T>(decode: (bytes: Buffer) => T, bytes: Buffer): Decoded<T> {
  if (bytes.includes(prototypeEntry)) return refused('"__proto__" cannot be a key or a name');
  let request: T;
  try {
    request = decode(bytes);
  } catch (caught) {
    return refused(caught instanceof Error ? caught.message : String(caught), caught);
  }
  if (replacements(request) > occurrences(bytes, replacementBytes)) return refused('a text is not valid UTF-8');
  return { request };
}

function refused(why: string, cause?: unknown): { readonly error: HuskError } {
  return { error: new HuskError('invalid-argument', `decode the request: ${why}`, { cause }) };
}

/** How often U+FFFD is in the texts of a message. Messages of CRI are shallow: their depth is their schema's. */
function replacements(value: unknown): number {
  if (typeof value === 'string') return value.includes('\ufffd') ? value.split('\ufffd').length - 1 : 0;
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return 0;
  let sum = 0;
  for (const [key, part] of Object.entries(value)) sum += replacements(key) + replacements(part);
  return sum;
}

function occurrences(bytes: Buffer, pattern: Buffer): number {
  let found = 0;
  for (let at = bytes.indexOf(pattern); at >= 0; at = bytes.indexOf(pattern, at + pattern.length)) found += 1;
  return found;
}
