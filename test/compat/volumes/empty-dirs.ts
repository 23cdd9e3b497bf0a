/** Scenarios of emptyDirs. Nothing here says what is right: runC does. */
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync } from 'node:fs';
import { emptyDir } from './make.ts';
import { podVolume, type Scenario } from './scenario.ts';

/** All of them. */
export const emptyDirs: readonly Scenario[] = [
  emptyDir('write and read', 'echo x > e/a; cat e/a; stat -c %a e'),
  emptyDir('it outlives a container', 'echo kept > e/a', { second: 'cat e/a' }),
  emptyDir('the group of the pod', 'stat -c "%g %a" e; touch e/a; stat -c %g e/a', {
    prepare: (host) => {
      chownSync(host.at(podVolume('empty-dir')), 0, 2000);
      chmodSync(host.at(podVolume('empty-dir')), 0o2777);
    },
  }),
  emptyDir('the kubelet sees what is used', 'dd if=/dev/zero bs=64k count=16 of=e/a 2>/dev/null; ls e'),
  emptyDir('a user without rights writes', 'su -s /bin/sh nobody -c "echo x > e/a"; stat -c "%u %g" e/a'),
  emptyDir('a fifo', 'mkfifo e/p; (echo through > e/p) & cat e/p'),
  {
    ...emptyDir('a subPath', 'echo whole > e/sub/a; cat p/a; echo part > p/b; ls e/sub', {
      prepare: (host) => {
        host.folderAt(`${podVolume('empty-dir')}/sub`);
        execFileSync('mount', [
          '--bind',
          host.at(podVolume('empty-dir'), 'sub'),
          host.folderAt('pods/u1/volume-subpaths/v/c/0'),
        ]);
      },
    }),
    mounts: [
      { at: 'e', from: podVolume('empty-dir') },
      { at: 'p', from: 'pods/u1/volume-subpaths/v/c/0' },
    ],
  },
  emptyDir('write and read', 'echo x > e/a; cat e/a; stat -c %a e; df -k e | tail -1 | tr -s " " | cut -d" " -f2', {
    memory: true,
    vmDiffers: 'its files are in the guest: the host’s own tmpfs stays empty',
  }),
  emptyDir('it is full at its size', 'dd if=/dev/zero bs=64k count=100 of=e/a 2>&1 | grep -c "No space"; rm e/a', {
    memory: true,
  }),
  emptyDir('it outlives a container', 'echo kept > e/a', {
    memory: true,
    second: 'cat e/a; rm e/a',
  }),
  {
    ...emptyDir('a subPath', 'echo whole > e/sub/a; cat p/a; rm e/sub/a; ls p', {
      memory: true,
      prepare: (host) => {
        host.folderAt(`${podVolume('empty-dir')}/sub`);
        execFileSync('mount', [
          '--bind',
          host.at(podVolume('empty-dir'), 'sub'),
          host.folderAt('pods/u1/volume-subpaths/v/c/0'),
        ]);
      },
    }),
    mounts: [
      { at: 'p', from: 'pods/u1/volume-subpaths/v/c/0' },
      { at: 'e', from: podVolume('empty-dir') },
    ],
  },
];
