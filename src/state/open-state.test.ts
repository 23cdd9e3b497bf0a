import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'node:test';
import { HuskError } from '../base/errors.ts';
import { type Log, silentLog } from '../base/log.ts';
import { parseSample, recordStoreContract, sample } from '../base/records.contract.ts';
import { openState } from './open-state.ts';
import { schemaVersion } from './schema.ts';

function withFolder<T>(use: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'husk-state-'));
  try {
    return use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A log that remembers its errors. */
function errorLog(): { log: Log; errors: string[] } {
  const errors: string[] = [];
  const log: Log = {
    ...silentLog,
    error: (fields, message) => void errors.push(`${message} ${JSON.stringify(fields)}`),
  };
  return { log, errors };
}

function fill(folder: string, count: number): void {
  const state = openState(folder, silentLog);
  const store = state.records('sample', parseSample);
  for (let each = 0; each < count; each += 1) store.put(`id${each}`, sample(each));
  state.close();
}

recordStoreContract('SQLite', (use) => {
  withFolder((folder) => {
    const state = openState(folder, silentLog);
    try {
      use(state.records('sample', parseSample));
    } finally {
      state.close();
    }
  });
});

describe('state', () => {
  it('has everything again after it was closed and opened, in order, kinds apart', () => {
    withFolder((folder) => {
      const first = openState(folder, silentLog);
      const store = first.records('sample', parseSample);
      for (const id of ['b', 'a', 'c']) store.put(id, sample(id.charCodeAt(0)));
      first.records('other', parseSample).put('a', sample(1));
      store.put('b', sample(5));
      store.delete('a');
      first.close();
      const second = openState(folder, silentLog);
      assert.deepEqual(second.records('sample', parseSample).list(), [sample(5), sample(99)]);
      assert.deepEqual(second.records('other', parseSample).list(), [sample(1)]);
      second.close();
      second.close();
    });
  });

  it('puts a record of unknown version into quarantine, logs it, and keeps the others', () => {
    withFolder((folder) => {
      fill(folder, 3);
      const { log, errors } = errorLog();
      const refuseOne = (value: unknown): ReturnType<typeof parseSample> => {
        const record = parseSample(value);
        if (record.count === 1) throw new HuskError('invalid-argument', 'read "version": found 2, wanted 1');
        return record;
      };
      const state = openState(folder, log);
      assert.deepEqual(state.records('sample', refuseOne).list(), [sample(0), sample(2)]);
      assert.equal(errors.length, 1);
      assert.match(errors[0] ?? '', /quarantine.*id1.*found 2, wanted 1/);
      assert.deepEqual(
        state.quarantined().map(({ kind, id }) => [kind, id]),
        [['sample', 'id1']],
      );
      state.close();
    });
  });

  it('does not believe a record whose text was changed under its checksum', () => {
    withFolder((folder) => {
      fill(folder, 2);
      const database = new DatabaseSync(join(folder, 'state.db'));
      database.exec(`UPDATE records SET json = replace(json, '"count":1', '"count":9')`);
      database.close();
      const { log, errors } = errorLog();
      const state = openState(folder, log);
      assert.deepEqual(state.records('sample', parseSample).list(), [sample(0)]);
      assert.match(errors.join(), /checksum/);
      state.close();
    });
  });

  it('refuses a database of a later version, names both versions, and leaves the file as it is', () => {
    withFolder((folder) => {
      fill(folder, 2);
      const path = join(folder, 'state.db');
      const database = new DatabaseSync(path);
      database.exec(`PRAGMA user_version = ${schemaVersion + 6}`);
      database.close();
      const before = readFileSync(path);
      const files = readdirSync(folder).sort();
      assert.throws(() => openState(folder, silentLog), {
        kind: 'failed-precondition',
        message: `open "${path}": found database version ${schemaVersion + 6}, wanted ${schemaVersion} or older`,
      });
      assert.deepEqual(readFileSync(path), before);
      assert.deepEqual(readdirSync(folder).sort(), files);
    });
  });

  it('refuses a folder that is held already, names the holder, and can have it after a release', () => {
    withFolder((folder) => {
      const first = openState(folder, silentLog);
      first.records('sample', parseSample).put('a', sample(1));
      assert.throws(() => openState(folder, silentLog), {
        kind: 'failed-precondition',
        message: `lock folder "${folder}": another huskd (pid ${process.pid}) holds it`,
      });
      assert.deepEqual(first.records('sample', parseSample).list(), [sample(1)]);
      first.close();
      openState(folder, silentLog).close();
    });
  });

  it('can be read by tools while it is open', () => {
    withFolder((folder) => {
      const state = openState(folder, silentLog);
      state.records('sample', parseSample).put('a', sample(1));
      const reader = new DatabaseSync(join(folder, 'state.db'), { readOnly: true });
      assert.equal(reader.prepare('SELECT count(*) AS n FROM records').get()?.['n'], 1);
      reader.close();
      state.close();
    });
  });

  it('moves a file that is no database aside and starts afresh', () => {
    withFolder((folder) => {
      writeFileSync(join(folder, 'state.db'), 'not a database at all'.repeat(500));
      const { log, errors } = errorLog();
      const state = openState(folder, log);
      assert.deepEqual(state.records('sample', parseSample).list(), []);
      state.records('sample', parseSample).put('a', sample(1));
      state.close();
      assert.match(errors.join(), /DAMAGED/);
      assert.ok(readdirSync(folder).some((name) => name.startsWith('state.db.damaged-')));
    });
  });
});
