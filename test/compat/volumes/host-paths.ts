/** Scenarios of folders of the host. Nothing here says what is right: runC does. */
import { execFileSync } from 'node:child_process';
import { appendFileSync, chmodSync, chownSync, renameSync, symlinkSync, truncateSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { folder, write } from './make.ts';
import { type Scenario } from './scenario.ts';

/** All of them. */
export const hostPaths: readonly Scenario[] = [
  folder('read a file', 'cat v/a', { prepare: (host) => write(host, 'data/a', 'hello\n') }),
  folder('write a file', 'echo hello > v/new; cat v/new'),
  folder('append', 'echo two >> v/a; cat v/a', { prepare: (host) => write(host, 'data/a', 'one\n') }),
  folder('truncate', 'truncate -s 3 v/a; cat v/a; truncate -s 10 v/a; wc -c < v/a', {
    prepare: (host) => write(host, 'data/a', 'abcdef'),
  }),
  folder('overwrite in the middle', 'printf XY | dd of=v/a bs=1 seek=2 conv=notrunc 2>/dev/null; cat v/a', {
    prepare: (host) => write(host, 'data/a', 'abcdef\n'),
  }),
  folder('folders made and removed', 'mkdir -p v/a/b/c; ls v/a/b; rmdir v/a/b/c; rmdir v/a 2>&1; ls v/a'),
  folder('rename', 'echo x > v/a; mv v/a v/b; ls v; mkdir v/d; mv v/b v/d/; ls v/d'),
  folder('rename over', 'echo x > v/a; echo y > v/b; mv v/a v/b; cat v/b'),
  folder('hard link', 'echo x > v/a; ln v/a v/b; echo y >> v/b; cat v/a; stat -c %h v/a'),
  folder('symbolic links', 'ln -s a v/l; echo x > v/a; cat v/l; readlink v/l; ln -s /nowhere v/dangling; ls v'),
  folder('an absolute link is the container’s', 'ln -s /etc/hostname-x v/l; echo inside > /etc/hostname-x; cat v/l'),
  folder('modes', 'touch v/a; chmod 4751 v/a; stat -c %a v/a; chmod 1777 v; stat -c %a v'),
  folder('owners', 'touch v/a; chown 123:456 v/a; stat -c "%u %g" v/a; mkdir v/d; chown 7:8 v/d; stat -c "%u %g" v/d'),
  folder(
    'owner of what another user makes',
    'su -s /bin/sh nobody -c "touch v/a; mkdir v/d; ln -s x v/l"; stat -c "%u %g" v/a v/d v/l',
    {
      prepare: (host) => chmodSync(host.at('data'), 0o777),
    },
  ),
  folder('another user is refused', 'su -s /bin/sh nobody -c "cat v/secret; touch v/x" 2>&1 | sed "s/.*: //"', {
    prepare: (host) => write(host, 'data/secret', 'x', 0o600),
  }),
  folder('the group of a file lets its members in', 'su -s /bin/sh nobody -c "cat v/a"', {
    prepare: (host) => {
      write(host, 'data/a', 'grouped\n', 0o640);
      chownSync(host.at('data/a'), 0, 65_534);
    },
  }),
  folder('setgid folder hands on its group', 'touch v/a; stat -c %g v/a; mkdir v/d; stat -c "%g %a" v/d', {
    prepare: (host) => {
      chownSync(host.at('data'), 0, 777);
      chmodSync(host.at('data'), 0o2775);
    },
  }),
  folder('sticky folder', 'su -s /bin/sh nobody -c "rm v/a" 2>&1 | sed "s/.*: //"; ls v', {
    prepare: (host) => {
      write(host, 'data/a', '');
      chmodSync(host.at('data'), 0o1777);
    },
  }),
  folder('times', 'touch -d "2020-01-02 03:04:05" v/a; stat -c %Y v/a'),
  folder(
    'a hole',
    'truncate -s 1M v/a; printf x | dd of=v/a bs=1 seek=1048575 conv=notrunc 2>/dev/null; wc -c < v/a; md5sum < v/a',
  ),
  folder('a mebibyte', 'dd if=/dev/zero bs=4k count=256 2>/dev/null | tr "\\0" x > v/a; md5sum < v/a'),
  folder(
    'names with blanks, newlines and bytes',
    'touch "v/a b" "$(printf "v/new\\nline")" "$(printf "v/\\377\\376")"; ls v | od -c | head -3',
  ),
  folder(
    'a name of 255 bytes',
    'n=$(printf "%0255d" 0); touch v/$n; ls v | wc -c; touch v/${n}x 2>&1 | sed "s/.*: //"',
  ),
  folder(
    'a deep path',
    'p=v; i=0; while [ $i -lt 40 ]; do p=$p/folder$i; i=$((i+1)); done; mkdir -p $p; touch $p/x; find v -type f | wc -c',
  ),
  folder('500 files', 'i=0; while [ $i -lt 500 ]; do : > v/f$i; i=$((i+1)); done; ls v | wc -l; rm v/f*; ls v | wc -l'),
  folder('a fifo between processes', 'mkfifo v/p; (echo through > v/p) & cat v/p'),
  folder('a fifo of the host does not block the host', 'ls v; [ -p v/p ] && echo fifo', {
    prepare: (host) => execFileSync('mkfifo', [host.at('data/p')]),
  }),
  folder('no device is opened from a share', 'cat v/null 2>&1 | sed "s/.*: //"; echo done', {
    prepare: (host) => execFileSync('mknod', [host.at('data/null'), 'c', '1', '3']),
    vmDiffers: 'devices in a share are not opened: a VM mounts it nodev',
  }),
  folder('removed while it is open', 'exec 3<v/a; rm v/a; cat <&3; exec 3<&-; ls v', {
    prepare: (host) => write(host, 'data/a', 'still here\n'),
  }),
  folder(
    'read-only refuses every change',
    'touch v/new 2>&1 | sed "s/.*: //"; (echo x > v/a) 2>&1 | sed "s/.*: //"; rm v/a 2>&1 | sed "s/.*: //"; chmod 600 v/a 2>&1 | sed "s/.*: //"; cat v/a',
    {
      readonly: true,
      prepare: (host) => write(host, 'data/a', 'kept\n'),
    },
  ),
  folder('the host writes, the container reads', 'cat v/a', {
    prepare: (host) => write(host, 'data/a', 'one\n'),
    during: (host) => {
      write(host, 'data/a', 'two, longer\n');
      write(host, 'data/b', 'new\n');
    },
    afterwards: 'cat v/a v/b; ls v',
  }),
  folder('the host appends to an open file', 'exec 4<v/a; head -c 4 <&4', {
    prepare: (host) => write(host, 'data/a', 'one\n'),
    during: (host) => appendFileSync(host.at('data/a'), 'two\n'),
    afterwards: 'cat <&4',
  }),
  folder('the host removes and makes anew', 'cat v/a', {
    prepare: (host) => write(host, 'data/a', 'old\n'),
    during: (host) => {
      unlinkSync(host.at('data/a'));
      write(host, 'data/a', 'new\n');
    },
    afterwards: 'cat v/a',
  }),
  folder('the host renames a folder', 'ls v/d', {
    prepare: (host) => {
      host.folderAt('data/d');
      write(host, 'data/d/x', '');
    },
    during: (host) => renameSync(host.at('data/d'), host.at('data/e')),
    afterwards: 'ls v/d 2>&1 | sed "s/.*: //"; ls v/e',
  }),
  folder('the host truncates', 'wc -c < v/a', {
    prepare: (host) => write(host, 'data/a', 'a longer text\n'),
    during: (host) => truncateSync(host.at('data/a'), 2),
    afterwards: 'cat v/a; echo; wc -c < v/a',
  }),
  folder('two containers share', 'echo from one > v/a', { second: 'cat v/a; echo from two >> v/a; cat v/a' }),
  folder('a nested mount is seen', 'cat v/m/inside; touch v/m/new && echo written', {
    prepare: (host) => {
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', host.folderAt('data/m')]);
      write(host, 'data/m/inside', 'mounted\n');
    },
  }),
  {
    ...folder('a later mount, HOST_TO_CONTAINER', 'ls v/m', {
      prepare: (host) => void host.folderAt('data/m'),
      during: (host) => {
        execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', host.at('data/m')]);
        write(host, 'data/m/inside', 'late\n');
      },
      afterwards: 'cat v/m/inside 2>&1 | sed "s/.*: //"',
    }),
    mounts: [{ at: 'v', from: 'data', hostToContainer: true }],
  },
  folder('a later mount, PRIVATE', 'ls v/m', {
    prepare: (host) => void host.folderAt('data/m'),
    during: (host) => {
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', host.at('data/m')]);
      write(host, 'data/m/inside', 'late\n');
    },
    afterwards: 'cat v/m/inside 2>&1 | sed "s/.*: //"',
  }),
  {
    ...folder(
      'read-only is not recursive by itself',
      'touch v/x 2>&1 | sed "s/.*: //"; touch v/m/x 2>&1 | sed "s/.*: //"; ls v/m',
      {
        prepare: (host) => execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', host.folderAt('data/m')]),
      },
    ),
    mounts: [{ at: 'v', from: 'data', readonly: true }],
    vmDiffers: 'what is mounted below a share is no mount of the guest: it is read-only with the share',
  },
  {
    ...folder('recursive read-only', 'touch v/x 2>&1 | sed "s/.*: //"; touch v/m/x 2>&1 | sed "s/.*: //"; ls v/m', {
      prepare: (host) => execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', host.folderAt('data/m')]),
    }),
    mounts: [{ at: 'v', from: 'data', readonly: true, recursiveReadOnly: true }],
  },
  {
    ...folder('a host path that is a link', 'cat v/a; touch v/b; ls v', {
      prepare: (host) => {
        write(host, 'data/a', 'behind\n');
        symlinkSync('data', host.at('link'));
      },
    }),
    mounts: [{ at: 'v', from: 'link' }],
  },
  {
    ...folder('the same folder twice, once read-only', 'echo x > v/a; cat r/a; touch r/b 2>&1 | sed "s/.*: //"'),
    mounts: [
      { at: 'v', from: 'data' },
      { at: 'r', from: 'data', readonly: true },
    ],
  },
  {
    ...folder('a mount inside a mount', 'ls v; echo x > v/in/y; ls v/in', {
      prepare: (host) => {
        host.folderAt('data/in');
        host.folderAt('other');
      },
    }),
    mounts: [
      { at: 'v', from: 'data' },
      { at: 'v/in', from: 'other' },
    ],
  },
  {
    ...folder('the mount point is made', 'ls -d deep/er/v; touch deep/er/v/x'),
    mounts: [{ at: 'deep/er/v', from: 'data' }],
  },
  folder('a subPath that the kubelet bound', 'cat v/a; touch v/b', {
    prepare: (host) => {
      host.folderAt('data/sub');
      write(host, 'data/sub/a', 'part\n');
      execFileSync('mount', ['--bind', host.at('data/sub'), host.folderAt('pods/u1/volume-subpaths/v/c/0')]);
    },
    mounts: [{ at: 'v', from: 'pods/u1/volume-subpaths/v/c/0' }],
  }),
  folder('a program on the share runs', 'cp /bin/busybox v/busybox; chmod 755 v/busybox; v/busybox echo runs'),
  folder('a full disk', 'dd if=/dev/zero of=v/m/big bs=64k count=100 2>&1 | grep -c "No space"; ls v/m | wc -l', {
    prepare: (host) => execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', host.folderAt('data/m')]),
  }),
  folder('df tells the host’s file system', 'df -k v/m | tail -1 | tr -s " " | cut -d" " -f2', {
    prepare: (host) => execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', host.folderAt('data/m')]),
    vmDiffers: 'what is mounted below a share is no mount of the guest: df tells the share’s own file system',
  }),
  folder('questions about POSIX', 'mkdir v/w; v/posix-checks v/w', {
    prepare: (host) => {
      const source = join(import.meta.dirname, '../../fixtures/posix-checks.c');
      execFileSync('gcc', ['-O1', '-w', '-static', '-o', host.at('data/posix-checks'), source]);
    },
    afterwards: 'rm -r v/w v/posix-checks',
  }),
];
