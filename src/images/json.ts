/** Reading JSON whose every shape is a stranger's choice. */
import { HuskError } from '../base/errors.ts';
import { type Digest, isDigest } from '../base/ids.ts';

/** A JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** @throws HuskError `invalid-argument` when the bytes are not one JSON object */
export function parseObject(what: string, text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (caught) {
    throw malformed(what, 'not JSON', caught);
  }
  return asObject(what, value);
}

/** @throws HuskError `invalid-argument` when the value is no object */
export function asObject(what: string, value: unknown): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed(what, 'wanted an object');
  return value as JsonObject;
}

/** A string of at most `max` UTF-16 units without control characters; absent or null counts as empty. */
export function asText(what: string, value: unknown, max: number): string {
  if (value === undefined || value === null) return '';
  if (typeof value !== 'string') throw malformed(what, 'wanted a string');
  if (value.length > max) throw malformed(what, `found ${value.length} characters, wanted at most ${max}`);
  if (/[\0-\x08\x0b-\x1f\x7f]/.test(value)) throw malformed(what, 'found a control character');
  return value;
}

/** A list of at most `max` items; absent or null counts as empty. */
export function asList(what: string, value: unknown, max: number): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw malformed(what, 'wanted a list');
  if (value.length > max) throw malformed(what, `found ${value.length} items, wanted at most ${max}`);
  return value;
}

/** @throws HuskError `invalid-argument` when the value is no sha256 digest in its canonical form */
export function asDigest(what: string, value: unknown): Digest {
  if (typeof value !== 'string' || !isDigest(value)) {
    throw malformed(what, `found ${JSON.stringify(value)?.slice(0, 100)}, wanted sha256 and 64 lower-case hex digits`);
  }
  return value;
}

/** A whole number from 0 to `max`. */
export function asCount(what: string, value: unknown, max: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > max) {
    throw malformed(what, `found ${JSON.stringify(value)?.slice(0, 100)}, wanted a whole number up to ${max}`);
  }
  return value;
}

/** The error for image data that breaks its format. */
export function malformed(what: string, reason: string, cause?: unknown): HuskError {
  return new HuskError('invalid-argument', `read ${what}: ${reason}`, {
    stage: 'read-image',
    ...(cause === undefined ? {} : { cause }),
  });
}
