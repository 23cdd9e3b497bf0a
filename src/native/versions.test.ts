import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkVersion, judgeVersion } from './versions.ts';

test('versions are read as the programs print them', () => {
  const told = {
    'runc version 1.3.6\ncommit: v1.3.6\nspec: 1.2.1\n': ['runc', '1.3.6'],
    'runc version 1.2.8+ds1\n': ['runc', '1.2.8'],
    'crun version 1.8.1\ncommit: f8a096b\n': ['crun', '1.8.1'],
    'conmon version 2.1.6\ncommit: unknown\n': ['conmon', '2.1.6'],
    'youki version 0.5.3\n': ['youki', '0.5.3'],
    'other version: v7.0\n': ['other', '7.0'],
  };
  for (const [text, [name, version]] of Object.entries(told)) {
    assert.deepEqual(judgeVersion('/x', text), { name, version, advice: '' });
  }
});

test('a program below its floor is refused: floor, found and path are named', () => {
  const message = 'version of "/usr/sbin/runc": found runc 1.0.3, wanted at least 1.1.0';
  assert.throws(() => judgeVersion('/usr/sbin/runc', 'runc version 1.0.3\n'), { kind: 'failed-precondition', message });
  assert.throws(() => judgeVersion('/x', 'conmon version 2.0.99\n'), /found conmon 2\.0\.99, wanted at least 2\.1\.0/);
  assert.throws(() => judgeVersion('/x', 'hello\n'), { kind: 'failed-precondition', message: /found "hello"/ });
});

test('a runC with known ways out is used, and said to have them', () => {
  const advice = (version: string): string => judgeVersion('/x', `runc version ${version}\n`).advice;
  for (const old of ['1.1.5', '1.2.7', '1.3.2']) assert.match(advice(old), /CVE-2025-31133/, old);
  for (const fixed of ['1.2.8', '1.3.3', '1.4.0', '1.5.1']) assert.equal(advice(fixed), '', fixed);
});

test('a missing program is a failed precondition that names it', async () => {
  await assert.rejects(checkVersion('/no/such/runc'), {
    kind: 'failed-precondition',
    message: /native pods need "\/no\/such\/runc": .*no such program/,
  });
});
