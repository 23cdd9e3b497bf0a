/** Scenarios of single files. Nothing here says what is right: runC does. */
import { chmodSync, chownSync, linkSync, renameSync, writeFileSync } from 'node:fs';
import { file, write } from './make.ts';
import { type Scenario } from './scenario.ts';

/** All of them. */
export const files: readonly Scenario[] = [
  file('read', 'cat f'),
  file('write', 'echo two > f; cat f'),
  file('termination message', 'echo "the reason" > f; sync'),
  file('append', 'echo two >> f; cat f'),
  file('it cannot be replaced', 'mv f g 2>&1 | sed "s/.*: //"; rm f 2>&1 | sed "s/.*: //"; cat f'),
  file('read-only', '(echo two > f) 2>&1 | sed "s/.*: //"; cat f', { readonly: true }),
  file('the host writes in place', 'cat f', {
    during: (host) => writeFileSync(host.at('file'), 'two\n'),
    afterwards: 'cat f',
  }),
  file('the host writes in place, read-only', 'cat f', {
    readonly: true,
    during: (host) => writeFileSync(host.at('file'), 'two\n'),
    afterwards: 'cat f',
  }),
  file('the host replaces it: the mount keeps the old', 'cat f', {
    during: (host) => {
      writeFileSync(host.at('new'), 'two\n');
      renameSync(host.at('new'), host.at('file'));
    },
    afterwards: 'cat f',
  }),
  file('the host replaces it, read-only: the mount keeps the old', 'cat f', {
    readonly: true,
    during: (host) => {
      writeFileSync(host.at('new'), 'two\n');
      renameSync(host.at('new'), host.at('file'));
    },
    afterwards: 'cat f',
  }),
  file('mode and owner', 'stat -c "%a %u %g" f', {
    readonly: true,
    prepare: (host) => {
      chmodSync(host.at('file'), 0o640);
      chownSync(host.at('file'), 12, 34);
    },
  }),
  file('a large file', 'md5sum < f', {
    readonly: true,
    prepare: (host) => writeFileSync(host.at('file'), Buffer.alloc(3_000_000, 'x')),
  }),
  {
    ...file('/etc/hosts', 'cat f; echo "10.0.0.9 mine" >> f; tail -1 f', {
      prepare: (host) => {
        host.folderAt('pods/u1');
        write(host, 'pods/u1/etc-hosts', '127.0.0.1 localhost\n');
      },
      second: 'cat f',
      vmDiffers: 'what a container writes to /etc/hosts stays in the pod: the host’s file keeps its text',
    }),
    mounts: [{ at: 'f', from: 'pods/u1/etc-hosts' }],
  },
  {
    ...file('two names of one file', 'echo two > f; cat g', {
      prepare: (host) => linkSync(host.at('file'), host.at('same')),
    }),
    mounts: [
      { at: 'f', from: 'file' },
      { at: 'g', from: 'same' },
    ],
  },
];
