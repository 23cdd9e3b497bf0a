import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { HuskError } from '../base/errors.ts';

/** A folder held by this process. The kernel lets go of it when the process ends, however it ends. */
export interface FolderLock {
  release(): void;
}

/**
 * Takes a folder for this process alone.
 *
 * Node has no flock, but SQLite's exclusive transaction is a lock of the kernel (fcntl) on
 * its file. It is a file of its own, so that the lock stays when a damaged database is moved
 * aside, and so that tools can read the database while the daemon runs.
 *
 * @throws HuskError `failed-precondition` that names the holder
 */
export function lockFolder(folder: string): FolderLock {
  const holder = join(folder, 'lock.pid');
  const lock = new DatabaseSync(join(folder, 'lock'), { timeout: 0 });
  try {
    // Nothing is ever written into it: a journal in memory leaves no file behind.
    lock.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
    writeFileSync(holder, `${process.pid}\n`, { mode: 0o600 });
  } catch (caught) {
    lock.close();
    throw refusal(folder, holder, caught);
  }
  return {
    release: () => {
      if (!lock.isOpen) return;
      rmSync(holder, { force: true });
      lock.close();
    },
  };
}

function refusal(folder: string, holder: string, caught: unknown): HuskError {
  const busy = caught instanceof Error && /locked/.test(caught.message);
  if (!busy)
    return new HuskError('internal', `lock folder "${folder}": it failed`, { cause: caught, stage: 'open-state' });
  return new HuskError(
    'failed-precondition',
    `lock folder "${folder}": another huskd (pid ${pidIn(holder)}) holds it`,
    {
      cause: caught,
      stage: 'open-state',
      hint: 'stop it, or give this one a --root-directory of its own',
    },
  );
}

function pidIn(holder: string): string {
  try {
    return readFileSync(holder, 'utf8').trim().slice(0, 20);
  } catch {
    return 'unknown';
  }
}
