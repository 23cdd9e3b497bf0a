/** What tells the daemons of one machine apart in names that all of them share. */
import { createHash } from 'node:crypto';
import { resolve } from 'node:path';
import { settings } from './config.ts';

/**
 * The beginning of a daemon's names for network namespaces and cgroups: `husk` for the one on the
 * default root directory, `husk-` and six hexadecimal digits of its root directory for any other.
 * The same after a restart, since the names of pods that live on must be found again.
 */
export function instanceName(rootDirectory: string): string {
  const root = resolve(rootDirectory);
  if (root === settings.rootDirectory.fallback) return 'husk';
  return `husk-${createHash('sha256').update(root).digest('hex').slice(0, 6)}`;
}
