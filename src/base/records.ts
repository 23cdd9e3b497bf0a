/**
 * Durable records of one kind, addressed by id. The seam that domain folders keep
 * their bookkeeping behind; `src/state` implements it over SQLite.
 *
 * A write has reached the disk when the call returns. Calls are synchronous and small.
 */
export interface RecordStore<T> {
  /** The record, or undefined. */
  get(id: string): T | undefined;
  /** Inserts or replaces. */
  put(id: string, record: T): void;
  /** Removes; absent is fine. */
  delete(id: string): void;
  /** Every record, in the order of insertion. */
  list(): T[];
}
