/**
 * Imported first, it moves the test file into a network of its own before anything else runs: links,
 * queueing disciplines, packet filter and named namespaces of other tests are then out of sight.
 */
import { mkdirSync } from 'node:fs';

const mark = 'HUSK_TEST_PRIVATE_NETWORK';
const prepare = 'mount -t tmpfs -o mode=0755 netns /run/netns; ip link set lo up; exec "$0" "$@"';

if (process.env[mark] === undefined && process.getuid?.() === 0) {
  mkdirSync('/run/netns', { recursive: true, mode: 0o755 });
  const command = ['unshare', '--net', '--mount', '--propagation', 'private', 'sh', '-ec', prepare, process.execPath];
  const env = { ...process.env, [mark]: '1' };
  process.execve?.('/usr/bin/unshare', [...command, ...process.execArgv, ...process.argv.slice(1)], env);
}
