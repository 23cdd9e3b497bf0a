/** Giving root up inside a running Node process, before it reads a byte that nobody vouches for. */
import { readFileSync } from 'node:fs';
import { HuskError } from './errors.ts';

/**
 * Becomes the uid for good. The kernel clears every capability when the ids leave 0
 * (capabilities(7)); started under `setpriv --no-new-privs`, nothing gives them back.
 *
 * In the process rather than before `exec`, so that Node and the sources need not lie where
 * that uid can read. Everything must be imported by then.
 *
 * @param id uid and gid to become
 * @throws HuskError `internal` when a capability, a group or a way back to root is left
 */
export function dropPrivileges(id: number): void {
  if (process.getuid?.() === 0) {
    process.chdir('/');
    process.setgroups?.([]);
    process.setgid?.(id);
    process.setuid?.(id);
  }
  const status = parseStatus(readFileSync('/proc/self/status', 'latin1'));
  const wanted: Readonly<Record<string, string>> = {
    Uid: `${id}\t${id}\t${id}\t${id}`,
    Gid: `${id}\t${id}\t${id}\t${id}`,
    Groups: '',
    CapPrm: '0000000000000000',
    CapEff: '0000000000000000',
    CapInh: '0000000000000000',
    CapAmb: '0000000000000000',
    NoNewPrivs: '1',
  };
  for (const [field, value] of Object.entries(wanted)) {
    if (status.get(field) !== value) {
      throw new HuskError(
        'internal',
        `drop privileges to uid "${id}": ${field} is "${status.get(field)}", wanted "${value}"`,
      );
    }
  }
}

function parseStatus(text: string): Map<string, string> {
  return new Map(
    text.split('\n').map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon), line.slice(colon + 1).trim()] as const;
    }),
  );
}
