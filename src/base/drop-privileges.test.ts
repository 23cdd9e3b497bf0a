import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

const module = join(import.meta.dirname, 'drop-privileges.ts');
const script = `
  const { dropPrivileges } = await import(${JSON.stringify(module)});
  const fs = await import('node:fs');
  dropPrivileges(64999);
  let back = 'refused';
  try { process.setuid(0); back = 'root again'; } catch {}
  let shadow = 'refused';
  try { fs.readFileSync('/etc/shadow'); shadow = 'read'; } catch {}
  console.log(process.getuid(), process.getgroups().join(), back, shadow);
`;
const unprivileged = process.getuid?.() !== 0 && 'needs root';

test('a process that gave root up has no way back', { skip: unprivileged }, () => {
  const output = execFileSync('setpriv', ['--no-new-privs', process.execPath, '--input-type=module', '-e', script], {
    encoding: 'utf8',
  });
  assert.equal(output.trim(), '64999 64999 refused refused');
});

test('a process that could gain privileges again is refused', { skip: unprivileged }, () => {
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  assert.equal(status, 1);
  assert.match(stderr, /NoNewPrivs is "0", wanted "1"/);
});
