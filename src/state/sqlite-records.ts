import { createHash } from 'node:crypto';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { describeError, HuskError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type Parse, readJson } from '../base/memory-records.ts';
import type { RecordStore } from '../base/records.ts';

/** The checksum stored with a record. */
export function checksum(kind: string, id: string, json: string): string {
  return createHash('sha256')
    .update(JSON.stringify([kind, id, json]))
    .digest('hex');
}

/**
 * The records of one kind. All are read once and kept in memory, so that reading costs no
 * disk and a disk that fails later takes away writing only.
 */
export class SqliteRecords<T> implements RecordStore<T> {
  readonly #kind: string;
  readonly #parse: Parse<T>;
  readonly #records = new Map<string, T>();
  readonly #put: StatementSync;
  readonly #delete: StatementSync;

  /** Reads every record of the kind; those that cannot be read go into quarantine and are logged. */
  constructor(database: DatabaseSync, kind: string, parse: Parse<T>, log: Log) {
    this.#kind = kind;
    this.#parse = parse;
    this.#put = database.prepare(
      `INSERT INTO records (kind, id, json, sum) VALUES (?, ?, ?, ?)
       ON CONFLICT (kind, id) DO UPDATE SET json = excluded.json, sum = excluded.sum`,
    );
    this.#delete = database.prepare('DELETE FROM records WHERE kind = ? AND id = ?');
    const rows = database.prepare('SELECT seq, id, json, sum FROM records WHERE kind = ? ORDER BY seq').all(kind);
    for (const row of rows) {
      const id = String(row['id']);
      try {
        this.#records.set(id, this.#read(id, String(row['json']), String(row['sum'])));
      } catch (caught) {
        const reason = describeError(caught);
        quarantine(database, Number(row['seq']), reason);
        log.error({ kind, id, reason }, 'a stored record cannot be read: put into quarantine');
      }
    }
  }

  get(id: string): T | undefined {
    return this.#records.get(id);
  }

  put(id: string, record: T): void {
    const json = JSON.stringify(record);
    const copy = readJson(json, this.#parse);
    this.#write('write', id, () => this.#put.run(this.#kind, id, json, checksum(this.#kind, id, json)));
    this.#records.set(id, copy);
  }

  delete(id: string): void {
    if (!this.#records.has(id)) return;
    this.#write('delete', id, () => this.#delete.run(this.#kind, id));
    this.#records.delete(id);
  }

  list(): T[] {
    return [...this.#records.values()];
  }

  #read(id: string, json: string, sum: string): T {
    if (checksum(this.#kind, id, json) !== sum) {
      throw new HuskError('data-loss', `read ${this.#kind} record "${id}": its checksum does not fit`);
    }
    return readJson(json, this.#parse);
  }

  #write(verb: string, id: string, work: () => void): void {
    try {
      work();
    } catch (caught) {
      const full = caught instanceof Error && /disk is full/.test(caught.message);
      const kind = full ? 'resource-exhausted' : 'internal';
      throw new HuskError(kind, `${verb} ${this.#kind} record "${id}": the database refused`, {
        cause: caught,
        stage: 'save-record',
      });
    }
  }
}

function quarantine(database: DatabaseSync, seq: number, reason: string): void {
  database.exec('BEGIN IMMEDIATE');
  try {
    database
      .prepare(
        `INSERT INTO quarantine (at, kind, id, json, reason)
         SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), kind, id, CAST(json AS BLOB), ? FROM records WHERE seq = ?`,
      )
      .run(reason, seq);
    database.prepare('DELETE FROM records WHERE seq = ?').run(seq);
    database.exec('COMMIT');
  } catch (caught) {
    database.exec('ROLLBACK');
    throw caught;
  }
}
