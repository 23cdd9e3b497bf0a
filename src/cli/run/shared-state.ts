/** The lock of what direct runs share, and which runs live. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep } from '../../base/deadline.ts';
import { HuskError, isKind } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { lockFolder } from '../../state/folder-lock.ts';
import { openState, type State } from '../../state/open-state.ts';
import type { Config } from '../config.ts';
import { makeFolders } from '../parts.ts';
import { runsFolder, sharedConfig } from './places.ts';

const pollMs = 25;

interface Turn {
  readonly config: Config;
  readonly log: Log;
  /** How long another run is waited for, in milliseconds. */
  readonly waitMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Works on what is shared while no other run does.
 * @throws HuskError `deadline-exceeded` when another run holds it for too long
 */
export async function withShared<T>(turn: Turn, work: (state: State) => Promise<T>): Promise<T> {
  const shared = sharedConfig(turn.config);
  await makeFolders(shared);
  const state = await opened(shared.rootDirectory, turn);
  try {
    return await work(state);
  } finally {
    state.close();
  }
}

async function opened(folder: string, { log, waitMs, signal }: Turn): Promise<State> {
  const until = performance.now() + waitMs;
  for (;;) {
    try {
      return openState(folder, log);
    } catch (caught) {
      if (!isKind(caught, 'failed-precondition')) throw caught;
      if (performance.now() > until) {
        const message = `take "${folder}": another husk run holds it for more than ${waitMs} ms`;
        throw new HuskError('deadline-exceeded', message, { cause: caught, stage: 'prepare' });
      }
    }
    await sleep(pollMs, signal);
  }
}

/** The runs that have a folder, and whether a process stands behind them. */
export async function knownRuns(config: Config): Promise<{ readonly id: string; readonly alive: boolean }[]> {
  const folder = runsFolder(config);
  const ids = await readdir(folder).catch(() => []);
  return ids.filter((id) => /^[0-9a-f]{6}$/.test(id)).map((id) => ({ id, alive: isHeld(join(folder, id)) }));
}

function isHeld(folder: string): boolean {
  try {
    lockFolder(folder).release();
    return false;
  } catch (caught) {
    if (isKind(caught, 'failed-precondition')) return true;
    throw caught;
  }
}
