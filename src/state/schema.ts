import { closeSync, openSync, readSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { HuskError, isErrno } from '../base/errors.ts';

/**
 * One entry per version of the database: the statements that lead to it from the one before.
 * Entries are never edited, only added.
 *
 * `sum` is the SHA-256 of kind, id and JSON: SQLite has no checksum of its own pages, and a
 * flipped bit in the text of a record would otherwise be believed.
 */
const migrations: readonly string[] = [
  `CREATE TABLE records (
     seq  INTEGER PRIMARY KEY AUTOINCREMENT,
     kind TEXT NOT NULL,
     id   TEXT NOT NULL,
     json TEXT NOT NULL,
     sum  TEXT NOT NULL,
     UNIQUE (kind, id)
   ) STRICT;
   CREATE TABLE quarantine (
     seq    INTEGER PRIMARY KEY AUTOINCREMENT,
     at     TEXT NOT NULL,
     kind   TEXT NOT NULL,
     id     TEXT NOT NULL,
     json   BLOB,
     reason TEXT NOT NULL
   ) STRICT;`,
];

/** The database version that this program writes. */
export const schemaVersion = migrations.length;

/**
 * Refuses a database of a later program before anything could change it.
 *
 * The version is read from the file's header (big-endian, bytes 60 to 63:
 * https://www.sqlite.org/fileformat.html#the_database_header), as opening the file would
 * already fold its write-ahead log into it.
 *
 * @throws HuskError `failed-precondition` that names the version found and the one wanted
 */
export function refuseNewer(path: string): void {
  const header = readHeader(path);
  if (header === undefined || header.toString('latin1', 0, 16) !== 'SQLite format 3\0') return;
  checkVersion(path, header.readUInt32BE(60));
}

function readHeader(path: string): Buffer | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (caught) {
    if (isErrno(caught, 'ENOENT')) return undefined;
    throw new HuskError('internal', `open "${path}": it cannot be read`, { cause: caught, stage: 'open-state' });
  }
  try {
    const header = Buffer.alloc(100);
    return readSync(fd, header, 0, 100, 0) === 100 ? header : undefined;
  } finally {
    closeSync(fd);
  }
}

function checkVersion(path: string, found: number): void {
  if (found <= schemaVersion) return;
  throw new HuskError(
    'failed-precondition',
    `open "${path}": found database version ${found}, wanted ${schemaVersion} or older`,
    { stage: 'open-state', hint: 'start the husk that wrote it, or a later one; the file was left as it is' },
  );
}

/** Opens the database, durable on every commit, and brings it to the present version. */
export function openDatabase(path: string): DatabaseSync {
  refuseNewer(path);
  const database = new DatabaseSync(path, { timeout: 5_000 });
  try {
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF');
    migrate(database, path);
    return database;
  } catch (caught) {
    database.close();
    throw caught;
  }
}

function migrate(database: DatabaseSync, path: string): void {
  const found = Number(database.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0);
  checkVersion(path, found);
  for (let version = found; version < schemaVersion; version += 1) {
    database.exec(`BEGIN IMMEDIATE; ${migrations[version] ?? ''} PRAGMA user_version = ${version + 1}; COMMIT`);
  }
}

/** What the database engine itself finds wrong with the file: empty when it is whole. */
export function faults(database: DatabaseSync): string[] {
  const rows = database.prepare('PRAGMA integrity_check(10)').all();
  return rows.map((row) => String(row['integrity_check'])).filter((text) => text !== 'ok');
}
