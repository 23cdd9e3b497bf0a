import type { RecordStore } from './records.ts';

/** Turns JSON of unknown shape into a record, or throws. */
export type Parse<T> = (value: unknown) => T;

/**
 * Records in memory only: the honest stand-in for the durable store. As there, what comes
 * out is a frozen copy of what went in, passed through JSON and `parse`.
 */
export class MemoryRecords<T> implements RecordStore<T> {
  readonly #parse: Parse<T>;
  readonly #records = new Map<string, T>();

  constructor(parse: Parse<T>) {
    this.#parse = parse;
  }

  get(id: string): T | undefined {
    return this.#records.get(id);
  }

  put(id: string, record: T): void {
    this.#records.set(id, readJson(JSON.stringify(record), this.#parse));
  }

  delete(id: string): void {
    this.#records.delete(id);
  }

  list(): T[] {
    return [...this.#records.values()];
  }
}

/** Parses JSON text into a frozen record. Frozen, since a change in place would never reach the disk. */
export function readJson<T>(json: string, parse: Parse<T>): T {
  return freezeDeep(parse(JSON.parse(json)));
}

function freezeDeep<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const each of Object.values(value)) freezeDeep(each);
  }
  return value;
}
