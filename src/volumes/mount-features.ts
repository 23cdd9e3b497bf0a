/** What mounts of this host can do. */
import { describeError } from '../base/errors.ts';
import { run } from '../base/exec.ts';
import type { Log } from '../base/log.ts';

const timeoutMs = 10_000;

/**
 * Whether owners of files can be mapped to a user namespace at the folder. A volume on another file
 * system may still be one that cannot, and is then refused by name.
 *
 * @param program the compiled husk-share
 */
export async function canMapIds(program: string, folder: string, log: Log): Promise<boolean> {
  try {
    await run(program, ['probe', folder], { timeoutMs, stage: 'volumes' });
    return true;
  } catch (caught) {
    log.warn({ folder, error: describeError(caught) }, 'no user namespaces: ids of files cannot be mapped');
    return false;
  }
}
