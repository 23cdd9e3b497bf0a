import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ContainerConfig } from '../gen/cri/v1/api.ts';
import { readLocalhostSeccomp } from './localhost-seccomp.ts';

const asking = (localhostRef: string): ContainerConfig =>
  ContainerConfig.fromPartial({ linux: { securityContext: { seccomp: { profileType: 2, localhostRef } } } });

test('a profile of the node is read; no other kind is looked for', async (context) => {
  const folder = await mkdtemp(join(tmpdir(), 'husk-seccomp-'));
  context.after(() => rm(folder, { recursive: true }));
  const path = join(folder, 'profile.json');
  const profile = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [] };
  await writeFile(path, JSON.stringify(profile));
  assert.deepEqual(await readLocalhostSeccomp(asking(path)), profile);
  assert.equal(await readLocalhostSeccomp(ContainerConfig.fromPartial({})), undefined);
  await writeFile(path, '{}');
  await assert.rejects(readLocalhostSeccomp(asking(path)), /defaultAction/);
  await writeFile(path, ' '.repeat(2 ** 20 + 1));
  await assert.rejects(readLocalhostSeccomp(asking(path)), /at most 1048576/);
});

test('what has no end, is missing or is no file is refused by the name of the field', async () => {
  for (const path of ['/dev/zero', '/no/such.json', '/etc', 'relative.json', '/a/../b.json']) {
    await assert.rejects(readLocalhostSeccomp(asking(path)), {
      kind: 'invalid-argument',
      message: /^config\.linux\.security_context\.seccomp\.localhost_ref "/,
    });
  }
});
