import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { HuskError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Parse } from '../base/memory-records.ts';
import type { RecordStore } from '../base/records.ts';
import { type FolderLock, lockFolder } from './folder-lock.ts';
import { faults, openDatabase } from './schema.ts';
import { checksum, SqliteRecords } from './sqlite-records.ts';

/** A record that could not be read, kept for a human. */
export interface Quarantined {
  readonly at: string;
  readonly kind: string;
  readonly id: string;
  readonly reason: string;
}

/** The durable state of one daemon. */
export interface State {
  /**
   * The records of a kind, read now. Call it once per kind.
   *
   * @param parse checks shape and version of one record; what it throws for goes into quarantine
   */
  records<T>(kind: string, parse: Parse<T>): RecordStore<T>;
  /** What was put into quarantine, oldest first. */
  quarantined(): Quarantined[];
  /** Lets go of file and folder. Again: nothing happens. */
  close(): void;
}

/**
 * Opens the state of a root folder, for this process alone.
 *
 * A damaged database does not keep the daemon from starting: it is moved aside, what can
 * still be read and has its right checksum is carried over, and the log says so loudly.
 *
 * @param folder created with mode 0700 when absent
 * @throws HuskError `failed-precondition` when another process holds the folder, or when
 *   the database is of a later version (the file is left as it is)
 */
export function openState(folder: string, log: Log): State {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const lock = lockFolder(folder);
  try {
    return new OpenState(openOrReplace(join(folder, 'state.db'), log), lock, log);
  } catch (caught) {
    lock.release();
    throw caught;
  }
}

class OpenState implements State {
  readonly #database: DatabaseSync;
  readonly #lock: FolderLock;
  readonly #log: Log;

  constructor(database: DatabaseSync, lock: FolderLock, log: Log) {
    this.#database = database;
    this.#lock = lock;
    this.#log = log;
  }

  records<T>(kind: string, parse: Parse<T>): RecordStore<T> {
    return new SqliteRecords(this.#database, kind, parse, this.#log);
  }

  quarantined(): Quarantined[] {
    const rows = this.#database.prepare('SELECT at, kind, id, reason FROM quarantine ORDER BY seq').all();
    return rows.map((row) => ({
      at: String(row['at']),
      kind: String(row['kind']),
      id: String(row['id']),
      reason: String(row['reason']),
    }));
  }

  close(): void {
    if (this.#database.isOpen) this.#database.close();
    this.#lock.release();
  }
}

function openOrReplace(path: string, log: Log): DatabaseSync {
  try {
    return openWhole(path);
  } catch (caught) {
    if (caught instanceof HuskError && caught.kind === 'failed-precondition') throw caught;
    const aside = moveAside(path);
    const database = openDatabase(path);
    const saved = salvage(aside, database);
    log.error(
      { path, aside, saved, err: caught },
      'THE STATE DATABASE IS DAMAGED: moved aside, and a fresh one started with what could be read',
    );
    return database;
  }
}

function openWhole(path: string): DatabaseSync {
  const database = openDatabase(path);
  try {
    const found = faults(database);
    if (found.length === 0) return database;
    throw new HuskError('data-loss', `check "${path}": ${found.join('; ').slice(0, 400)}`, { stage: 'open-state' });
  } catch (caught) {
    database.close();
    throw caught;
  }
}

/** The write-ahead log belongs to the file: both move, or a new database would take up the old log. */
function moveAside(path: string): string {
  let count = 1;
  while (existsSync(`${path}.damaged-${count}`)) count += 1;
  const aside = `${path}.damaged-${count}`;
  for (const suffix of ['', '-wal', '-shm']) {
    if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
  }
  return aside;
}

/** Carries over the records that can be read and have their right checksum; returns how many. */
function salvage(damaged: string, fresh: DatabaseSync): number {
  const insert = fresh.prepare('INSERT OR REPLACE INTO records (kind, id, json, sum) VALUES (?, ?, ?, ?)');
  const seen = new Set<string>();
  let old: DatabaseSync | undefined;
  try {
    old = new DatabaseSync(damaged, { readOnly: true });
    // Row by row, past the index, which may be what is damaged: the rows up to the first bad page are good.
    for (const row of old.prepare('SELECT kind, id, json, sum FROM records NOT INDEXED ORDER BY seq').iterate()) {
      const [kind, id, json, sum] = ['kind', 'id', 'json', 'sum'].map((column) => String(row[column])) as Row;
      if (checksum(kind, id, json) !== sum) continue;
      insert.run(kind, id, json, sum);
      seen.add(JSON.stringify([kind, id]));
    }
  } catch {
    // The end of what can be read; the caller's log tells the fault and the count.
  } finally {
    old?.close();
  }
  return seen.size;
}

type Row = [kind: string, id: string, json: string, sum: string];
