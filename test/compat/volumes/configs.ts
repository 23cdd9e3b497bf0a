/** Scenarios of configMaps, secrets and their like. Nothing here says what is right: runC does. */
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, unlinkSync, writeFileSync } from 'node:fs';
import { atomic, pushed } from './make.ts';
import { podVolume, type Scenario } from './scenario.ts';

/** All of them. */
export const configs: readonly Scenario[] = [
  pushed('configmap', 'read', 'cat c/key; ls -A c; readlink c/key; readlink c/..data'),
  pushed('configmap', 'it is read-only', 'touch c/x 2>&1 | sed "s/.*: //"; (echo x > c/key) 2>&1 | sed "s/.*: //"'),
  pushed('configmap', 'an update arrives', 'cat c/key', {
    during: (host) => atomic(host, podVolume('configmap'), '2', { key: 'second', other: 'two\n' }),
    afterwards: 'cat c/key; ls -A c',
  }),
  pushed('configmap', 'a key comes and one goes', 'ls c', {
    during: (host) => {
      atomic(host, podVolume('configmap'), '2', { key: 'second', third: 'three' });
      unlinkSync(host.at(podVolume('configmap'), 'other'));
    },
    afterwards: 'ls c; cat c/third',
  }),
  pushed('configmap', 'two updates in a row', 'cat c/key', {
    during: (host) => {
      atomic(host, podVolume('configmap'), '2', { key: 'second' });
      atomic(host, podVolume('configmap'), '3', { key: 'third' });
    },
    afterwards: 'cat c/key; ls -A c',
  }),
  pushed('configmap', 'an open file keeps the old text', 'exec 5<c/key; cat c/key', {
    during: (host) => atomic(host, podVolume('configmap'), '2', { key: 'second' }),
    afterwards: 'cat <&5; cat c/key',
  }),
  pushed('configmap', 'fifty keys', 'ls c | wc -l; cat c/* | md5sum', {
    files: Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`key${index}`, `value ${index}\n`])),
  }),
  pushed('configmap', 'a mebibyte', 'md5sum < c/big', { files: { big: 'x'.repeat(1_000_000) } }),
  pushed('configmap', 'names with blanks and dots', 'ls -A c; cat "c/a b" c/.hidden', {
    files: { 'a b': 'x\n', '.hidden': 'y\n' },
  }),
  pushed('secret', 'modes and owners', 'stat -L -c "%a %u %g" c/key', {
    prepare: (host) => {
      chmodSync(host.at(podVolume('secret'), '..1/key'), 0o400);
      chownSync(host.at(podVolume('secret'), '..1/key'), 5, 6);
    },
  }),
  pushed('secret', 'another user is refused', 'su -s /bin/sh nobody -c "cat c/key" 2>&1 | sed "s/.*: //"', {
    prepare: (host) => chmodSync(host.at(podVolume('secret'), '..1/key'), 0o400),
  }),
  pushed('secret', 'a rotation', 'cat c/key', {
    during: (host) => atomic(host, podVolume('secret'), '2', { key: 'rotated' }),
    afterwards: 'cat c/key',
    second: 'cat c/key',
  }),
  pushed('projected', 'nested paths', 'find -L c -type f | sort | grep -v "\\.\\."; cat c/a/b/key', {
    files: { 'a/b/key': 'deep\n', 'a/x': 'y' },
  }),
  pushed('projected', 'an update of nested paths', 'cat c/a/b/key', {
    files: { 'a/b/key': 'deep\n' },
    during: (host) => atomic(host, podVolume('projected'), '2', { 'a/b/key': 'deeper\n', 'a/c': 'new' }),
    afterwards: 'cat c/a/b/key c/a/c',
  }),
  pushed('downward-api', 'read', 'cat c/labels', { files: { labels: 'app="web"\n' } }),
  {
    ...pushed('configmap', 'one key by subPath does not follow', 'cat f', {
      prepare: (host) => {
        const at = 'pods/u1/volume-subpaths/v/c/0';
        host.folderAt('pods/u1/volume-subpaths/v/c');
        writeFileSync(host.at(at), '');
        execFileSync('mount', ['--bind', host.at(podVolume('configmap'), '..1/key'), host.at(at)]);
      },
      during: (host) => atomic(host, podVolume('configmap'), '2', { key: 'second' }),
      afterwards: 'cat f',
    }),
    mounts: [{ at: 'f', from: 'pods/u1/volume-subpaths/v/c/0', readonly: true }],
  },
];
