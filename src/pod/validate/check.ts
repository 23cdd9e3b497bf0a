/**
 * The primitives of validation. Each names the field by its path on the wire, and the value,
 * shortened and escaped, so that a message cannot be used to write lines into a log.
 */
import { HuskError } from '../../base/errors.ts';
import { limits } from './limits.ts';

const controlPattern = /[\u0000-\u001f\u007f]/;
const shownChars = 64;

/**
 * Refuses a value.
 * @throws HuskError `invalid-argument`
 */
export function refuse(path: string, value: unknown, why: string): never {
  throw new HuskError('invalid-argument', `${path} ${show(value)}: ${why}`);
}

/** A value for a message: escaped, and shortened to what a line can hold. */
export function show(value: unknown): string {
  const text = typeof value === 'string' ? value : String(value);
  const short = text.length > shownChars ? `${text.slice(0, shownChars)}... (${text.length} characters)` : text;
  return JSON.stringify(short).replaceAll('\u007f', '\\u007f');
}

export interface TextRule {
  readonly max: number;
  /** What the whole text must match, besides having no control characters. */
  readonly pattern?: RegExp;
  /** The pattern in words. */
  readonly wanted?: string;
  /** Empty is fine. */
  readonly optional?: boolean;
}

/** A text without control characters, of bounded length, of a pattern. */
export function text(path: string, value: string, rule: TextRule): void {
  if (value === '') {
    if (rule.optional === true) return;
    refuse(path, value, 'empty, wanted a value');
  }
  if (value.length > rule.max) refuse(path, value, `${value.length} characters, wanted at most ${rule.max}`);
  if (controlPattern.test(value)) refuse(path, value, 'holds a control character');
  if (rule.pattern?.test(value) === false) refuse(path, value, `wanted ${rule.wanted ?? String(rule.pattern)}`);
}

/** An absolute path without `..` and control characters; whether it exists is another matter. */
export function absolutePath(path: string, value: string, rule: { readonly optional?: boolean } = {}): void {
  text(path, value, { max: limits.pathChars, ...rule });
  if (value === '') return;
  if (!value.startsWith('/')) refuse(path, value, 'wanted an absolute path');
  noParent(path, value);
}

/** A path beneath another one: not absolute, no `..`. Empty is fine. */
export function relativePath(path: string, value: string): void {
  text(path, value, { max: limits.pathChars, optional: true });
  if (value.startsWith('/')) refuse(path, value, 'wanted a relative path');
  noParent(path, value);
}

function noParent(path: string, value: string): void {
  if (value.split('/').includes('..')) refuse(path, value, 'holds ".."');
}

/** A number within bounds. */
export function range(path: string, value: number | bigint, min: number | bigint, max: number | bigint): void {
  if (value < min || value > max) refuse(path, value, `wanted ${min} to ${max}`);
}

/** A value that the enum of the wire has. */
export function member(path: string, value: number, values: Readonly<Record<string, number | string>>): void {
  if (value < 0 || !Object.values(values).includes(value)) refuse(path, value, 'no such value of the enum');
}

/** At most so many entries. */
export function count(path: string, found: number, max: number): void {
  if (found > max) throw new HuskError('invalid-argument', `${path}: ${found} entries, wanted at most ${max}`);
}

export interface MapRule {
  readonly entries: number;
  readonly key: TextRule;
  /** undefined: any text, newlines included, up to `valueChars`. */
  readonly value?: TextRule;
  readonly valueChars?: number;
}

/** A map of texts: entries, keys, values and their sum are bounded. */
export function textMap(path: string, map: Readonly<Record<string, string>>, rule: MapRule): void {
  const entries = Object.entries(map);
  count(path, entries.length, rule.entries);
  let chars = 0;
  for (const [key, value] of entries) {
    text(`${path} key`, key, rule.key);
    const at = `${path}[${show(key)}]`;
    if (rule.value !== undefined) text(at, value, rule.value);
    else if (value.length > (rule.valueChars ?? limits.mapChars)) {
      refuse(at, value, `wanted at most ${rule.valueChars ?? limits.mapChars} characters`);
    }
    chars += key.length + value.length;
  }
  if (chars > limits.mapChars) {
    throw new HuskError('invalid-argument', `${path}: ${chars} characters in all, wanted at most ${limits.mapChars}`);
  }
}

/** Applies a check to each element, with the path of the element. */
export function each<T>(
  path: string,
  values: readonly T[],
  max: number,
  check: (path: string, value: T) => void,
): void {
  count(path, values.length, max);
  for (const [index, value] of values.entries()) check(`${path}[${index}]`, value);
}

/** Labels: printable, kept byte for byte. */
export function labels(path: string, map: Readonly<Record<string, string>>): void {
  textMap(path, map, {
    entries: limits.labelEntries,
    key: { max: limits.mapKeyChars },
    value: { max: limits.labelValueChars, optional: true },
  });
}

/** Annotations: values may be whole documents with newlines. They are kept and handed back, never interpreted. */
export function annotations(path: string, map: Readonly<Record<string, string>>): void {
  textMap(path, map, {
    entries: limits.annotationEntries,
    key: { max: limits.mapKeyChars },
    valueChars: limits.annotationValueChars,
  });
}
