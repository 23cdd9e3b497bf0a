import { HuskError } from './errors.ts';

/**
 * Readers for values of unknown shape: JSON from a disk, a plugin or a tool.
 *
 * Each takes the value and where it stands (`status.phase`), and returns it typed or throws
 * HuskError `invalid-argument` that names the place, what was found and what was wanted.
 */

export type JsonObject = Readonly<Record<string, unknown>>;

/** A JSON object that is no array. */
export function asObject(value: unknown, where: string): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw mismatch(value, where, 'an object');
}

/** A string. */
export function asString(value: unknown, where: string): string {
  if (typeof value === 'string') return value;
  throw mismatch(value, where, 'a string');
}

/** A string that the pattern accepts; `wanted` says so in words. */
export function asMatch(value: unknown, where: string, pattern: RegExp, wanted: string): string {
  const text = asString(value, where);
  if (pattern.test(text)) return text;
  throw mismatch(value, where, wanted);
}

/** One of a closed set of values. */
export function asOneOf<const T extends string | number>(value: unknown, where: string, allowed: readonly T[]): T {
  for (const candidate of allowed) if (candidate === value) return candidate;
  throw mismatch(value, where, allowed.map((each) => JSON.stringify(each)).join(' or '));
}

/** An integer that a double holds exactly. */
export function asInteger(value: unknown, where: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  throw mismatch(value, where, 'an integer');
}

/** A finite number. */
export function asNumber(value: unknown, where: string): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw mismatch(value, where, 'a number');
}

/** True or false. */
export function asBoolean(value: unknown, where: string): boolean {
  if (typeof value === 'boolean') return value;
  throw mismatch(value, where, 'true or false');
}

/** A list, each entry read by `item`. */
export function asList<T>(value: unknown, where: string, item: (value: unknown, where: string) => T): T[] {
  if (Array.isArray(value)) return value.map((each: unknown, index) => item(each, `${where}[${index}]`));
  throw mismatch(value, where, 'a list');
}

/** An object whose values are all strings. */
export function asStringMap(value: unknown, where: string): Record<string, string> {
  const entries = Object.entries(asObject(value, where));
  return Object.fromEntries(entries.map(([key, each]) => [key, asString(each, `${where}.${key}`)]));
}

/** The reader's result, or `fallback` when the value is absent or null (Go writes nil so). */
export function orElse<T, F>(value: unknown, fallback: F, read: (value: unknown) => T): T | F {
  return value === undefined || value === null ? fallback : read(value);
}

function mismatch(value: unknown, where: string, wanted: string): HuskError {
  return new HuskError('invalid-argument', `read "${where}": found ${describe(value)}, wanted ${wanted}`);
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'an object';
  return JSON.stringify(value).slice(0, 80);
}
