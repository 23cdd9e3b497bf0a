import assert from 'node:assert/strict';
import { test } from 'node:test';
import { emptyDirPart, mountAt, parseMountTable } from './mount-table.ts';

const pod = '/var/lib/kubelet/pods/0d1c';
const table = parseMountTable(
  [
    '21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw',
    `40 21 0:44 / ${pod}/volumes/kubernetes.io~empty-dir/memory rw - tmpfs tmpfs rw,size=8192k`,
    `41 21 0:44 /part/of ${pod}/volume-subpaths/memory/web/0 rw - tmpfs tmpfs rw`,
    `42 21 8:1 ${pod}/volumes/kubernetes.io~empty-dir/disk/logs ${pod}/volume-subpaths/disk/web/1 rw - ext4 /dev/sda1 rw`,
    `43 21 8:1 ${pod}/volumes/kubernetes.io~configmap/config/..data/a ${pod}/volume-subpaths/config/web/2 rw - ext4 /dev/sda1 rw`,
    '44 21 0:50 / /mnt/with\\040blank rw master:3 propagate_from:2 - nfs4 server:/ rw',
    'not a line',
  ].join('\n'),
);

test('a mount table is read: optional fields, escapes, lines that are none', () => {
  assert.equal(table.length, 6);
  assert.deepEqual(mountAt(table, '/mnt/with blank'), {
    device: '0:50',
    root: '/',
    target: '/mnt/with blank',
    type: 'nfs4',
  });
  assert.equal(mountAt(table, '/mnt'), undefined);
});

test('a sub-path of an emptyDir is found in memory and on disk, and no other volume’s', () => {
  const part = (name: string): unknown => emptyDirPart(table, `${pod}/volume-subpaths/${name}`);
  const volume = (name: string): string => `${pod}/volumes/kubernetes.io~empty-dir/${name}`;
  assert.deepEqual(part('memory/web/0'), { path: volume('memory'), subPath: 'part/of' });
  assert.deepEqual(part('disk/web/1'), { path: volume('disk'), subPath: 'logs' });
  assert.equal(part('config/web/2'), undefined);
  assert.equal(part('disk/web/9'), undefined);
});
