/** What a launcher says on its standard output once its program runs. */
import type { ChildProcess } from 'node:child_process';
import { HuskError } from '../base/errors.ts';

const maxReadyBytes = 4096;

/**
 * Reads what the child says until it closes its output, or 4 KiB of it. The caller sets the deadline.
 *
 * @param program its path, for the error
 * @throws HuskError `failed-precondition` when the program is not there, `internal` when it cannot be started
 */
export async function readyLine(program: string, child: ChildProcess): Promise<string> {
  const { promise: failed, reject } = Promise.withResolvers<never>();
  child.once('error', (error: NodeJS.ErrnoException) => {
    const hint = '--bin-directory must name the folder of husk’s programs';
    const kind = error.code === 'ENOENT' ? 'failed-precondition' : 'internal';
    reject(new HuskError(kind, `run "${program}": ${error.message}`, { cause: error, hint }));
  });
  return Promise.race([failed, readAll(child)]);
}

async function readAll(child: ChildProcess): Promise<string> {
  let text = '';
  for await (const chunk of child.stdout ?? []) {
    text += String(chunk);
    if (text.length > maxReadyBytes) break;
  }
  return text;
}
