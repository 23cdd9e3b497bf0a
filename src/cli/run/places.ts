/** Where direct runs keep what they share, and what each has for itself. */
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { HuskError, isErrno } from '../../base/errors.ts';
import type { Config } from '../config.ts';

/** The longest state directory below which the sockets of a run's pod have room (unix(7): 107 bytes). */
const maxStateBytes = 16;

/** The folders that all runs share: images, programs, templates. Whoever changes anything in them holds their lock. */
export function sharedConfig(config: Config): Config {
  const { rootDirectory, stateDirectory } = config;
  return { ...config, rootDirectory: join(rootDirectory, 'direct'), stateDirectory: join(stateDirectory, 'direct') };
}

/** The folder that has a folder for each run. */
export function runsFolder(config: Config): string {
  return join(sharedConfig(config).rootDirectory, 'runs');
}

/** The folders of one run: its records and disks, its sockets and mounts. */
export function runConfig(config: Config, id: string): Config {
  return {
    ...config,
    rootDirectory: join(runsFolder(config), id),
    stateDirectory: join(config.stateDirectory, `r-${id}`),
  };
}

/**
 * Makes the folder of a new run.
 * @returns its id
 * @throws HuskError `invalid-argument` when the sockets' paths would be too long
 */
export async function newRun(config: Config): Promise<string> {
  const { stateDirectory } = config;
  if (Buffer.byteLength(stateDirectory) > maxStateBytes) {
    const message = `--state-directory "${stateDirectory}": wanted at most ${maxStateBytes} bytes: sockets lie below it`;
    throw new HuskError('invalid-argument', message, { stage: 'arguments' });
  }
  await mkdir(runsFolder(config), { recursive: true, mode: 0o711 });
  for (;;) {
    const id = randomBytes(3).toString('hex');
    try {
      await mkdir(runConfig(config, id).rootDirectory, { mode: 0o711 });
      return id;
    } catch (caught) {
      if (!isErrno(caught, 'EEXIST')) throw caught;
    }
  }
}

/** Where programs lie for the processes that are users of their own. */
export function programsFolder(config: Config): string {
  return join(sharedConfig(config).rootDirectory, 'programs');
}
