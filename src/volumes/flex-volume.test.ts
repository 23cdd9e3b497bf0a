import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isKind } from '../base/errors.ts';
import { flexVolume, parseFlexVolume } from './flex-volume.ts';

const host = mkdtempSync(join(tmpdir(), 'husk-flex-'));
const own = process.getuid?.() ?? 0;
after(() => rmSync(host, { recursive: true, force: true }));
const good = { gCEPDOptsData: { volumeID: 'v', zone: 'z', project: 'p', devicePath: '/dev/sdb', fsType: 'ext4' } };

function volume(plugin: string, name: string, content: unknown = good): string {
  const folder = join(host, 'pods/u1/volumes', plugin, name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'hyper-flexvolume.json'), JSON.stringify(content));
  return folder;
}

test('the file counts in the folder of a flexvolume, and nowhere else', async () => {
  const disk = { device: '/dev/sdb', fsType: 'ext4', options: [] };
  assert.deepEqual(await flexVolume(volume('gce~flexvolume_driver', 'data'), own), disk);
  for (const plugin of ['kubernetes.io~empty-dir', 'kubernetes.io~csi', 'plain'])
    assert.equal(await flexVolume(volume(plugin, 'data'), own), undefined, plugin);
  assert.equal(await flexVolume(join(volume('gce~flexvolume_driver', 'data'), 'below'), own), undefined);
  assert.equal(await flexVolume(join(host, 'pods/u1/volumes/gce~driver/absent'), own), undefined);
});

test('a file that is not root’s, or a link, is no word of the kubelet’s', async () => {
  const folder = volume('gce~flexvolume_driver', 'foreign');
  await assert.rejects(flexVolume(folder, own + 1), /not root/);
  const linked = join(host, 'pods/u1/volumes/gce~driver/linked');
  mkdirSync(linked, { recursive: true });
  symlinkSync(join(folder, 'hyper-flexvolume.json'), join(linked, 'hyper-flexvolume.json'));
  await assert.rejects(flexVolume(linked, own), { code: 'ELOOP' });
});

test('images of Ceph are where the host maps them', () => {
  const cinder = {
    cinderVolumeOptsData: { volume_type: 'rbd', name: 'volumes/volume-1', fsType: 'xfs', hosts: [], ports: [] },
  };
  assert.equal(parseFlexVolume(JSON.stringify(cinder), '/f').device, '/dev/rbd/volumes/volume-1');
  const ceph = { cephRBDOptsData: { volumeID: 'v1', pool: 'hyper', fsType: 'ext4' } };
  assert.equal(parseFlexVolume(JSON.stringify(ceph), '/f').device, '/dev/rbd/hyper/v1');
});

const bad: readonly (readonly [string, unknown])[] = [
  ['nothing', {}],
  ['another driver', { cinderVolumeOptsData: { volume_type: 'iscsi', name: 'a/b', fsType: 'ext4' } }],
  ['a name that climbs', { cephRBDOptsData: { volumeID: '..', pool: '..', fsType: 'ext4' } }],
  ['a name of more parts', { cinderVolumeOptsData: { volume_type: 'rbd', name: 'a/../b', fsType: 'ext4' } }],
  ['a file system that the guest lacks', { gCEPDOptsData: { ...good.gCEPDOptsData, fsType: 'ntfs' } }],
  ['no device', { gCEPDOptsData: { fsType: 'ext4' } }],
];
for (const [what, content] of bad) {
  test(`refused, with the file's name: ${what}`, () => {
    assert.throws(
      () => parseFlexVolume(JSON.stringify(content), '/f'),
      (caught) => isKind(caught, 'failed-precondition') && String(caught).includes('"/f"'),
    );
  });
}
