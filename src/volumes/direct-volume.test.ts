import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isKind } from '../base/errors.ts';
import { directVolume, parseMountInfo } from './direct-volume.ts';

const folder = mkdtempSync(join(tmpdir(), 'husk-direct-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const good = { 'volume-type': 'block', device: '/dev/sdb', fstype: 'ext4', metadata: {}, options: ['noatime'] };

test('the file of a path is found by the path in base64', async () => {
  const hostPath = '/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/v/mount??>';
  // `basenc --base64url` of the path.
  const name = 'L3Zhci9saWIva3ViZWxldC9wb2RzL3Uvdm9sdW1lcy9rdWJlcm5ldGVzLmlvfmNzaS92L21vdW50Pz8-';
  mkdirSync(join(folder, name));
  writeFileSync(join(folder, name, 'mountInfo.json'), JSON.stringify(good));
  assert.deepEqual(await directVolume(hostPath, folder), { device: '/dev/sdb', fsType: 'ext4', options: ['noatime'] });
  assert.equal(await directVolume('/other', folder), undefined);
  assert.equal(await directVolume(`/${'x'.repeat(4000)}`, folder), undefined);
});

const bad: readonly (readonly [string, string])[] = [
  ['no JSON', '{'],
  ['another type', JSON.stringify({ ...good, 'volume-type': 'directvol' })],
  ['a file system that the guest lacks', JSON.stringify({ ...good, fstype: 'zfs' })],
  ['no device', JSON.stringify({ ...good, device: undefined })],
  ['options that are no texts', JSON.stringify({ ...good, options: [1] })],
  ['too much', `${JSON.stringify(good)}${' '.repeat(70_000)}`],
];
for (const [what, text] of bad) {
  test(`refused, with the file's name: ${what}`, () => {
    assert.throws(
      () => parseMountInfo(text, '/f'),
      (caught) => isKind(caught, 'failed-precondition') && String(caught).includes('"/f"'),
    );
  });
}
