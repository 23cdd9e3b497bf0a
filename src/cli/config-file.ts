import { readFile } from 'node:fs/promises';
import { isErrno } from '../base/errors.ts';
import { settings } from './config.ts';

/** The text of the configuration file; undefined: there is none. */
export async function readConfigFile(path: string | undefined): Promise<string | undefined> {
  try {
    return await readFile(path ?? settings.config.fallback, 'utf8');
  } catch (caught) {
    if (isErrno(caught, 'ENOENT')) return undefined;
    throw caught;
  }
}
