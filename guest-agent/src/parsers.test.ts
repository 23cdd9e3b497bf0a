import assert from 'node:assert/strict';
import { test } from 'node:test';
import { oomKills } from './cgroup.ts';
import { parseComplaint } from './oci-runtime.ts';
import { parseSignal } from './rpc/stop-container.ts';
import { guestSettings, withCommandLine } from './settings.ts';

test('the count of kills for want of memory is read from memory.events', () => {
  assert.equal(oomKills('low 0\nhigh 0\nmax 12\noom 1\noom_kill 3\noom_group_kill 0\n'), 3);
  assert.equal(oomKills('oom 5\n'), 0);
});

test('the last error of a runtime log is found between warnings and cut lines', () => {
  const log =
    '{"level":"error","msg":"first"}\n{"level":"error","msg":"exec: no such file"}\n{"level":"warning","msg":"w"}\n{"lev';
  assert.equal(parseComplaint(log), 'exec: no such file');
  assert.equal(parseComplaint('null\n"x"\n'), '');
});

test('signals are named or numbered', () => {
  const cases = { TERM: 15, SIGINT: 2, kill: 9, '': 15, '10': 10, RTMIN: 34, 'RTMIN+3': 37, 'RTMAX-1': 63, '64': 64 };
  for (const [text, number] of Object.entries(cases)) assert.equal(parseSignal(text), number, text);
  for (const text of ['0', '65', '-9', 'FOO', 'RTMAX+1', '9 9', '1e1'])
    assert.throws(() => parseSignal(text), { kind: 'invalid-argument' }, text);
});

test('the command line chooses between the runtimes there are', () => {
  assert.equal(withCommandLine(guestSettings, 'quiet husk.template').template, true);
  assert.equal(withCommandLine(guestSettings, 'quiet husk.templates').template, false);
  assert.equal(withCommandLine(guestSettings, 'quiet husk.oci_runtime=crun x').runtimePath, '/usr/bin/crun');
  for (const line of ['', 'husk.oci_runtime=/bin/sh', 'xhusk.oci_runtime=crun']) {
    assert.equal(withCommandLine(guestSettings, line).runtimePath, '/usr/bin/runc', line);
  }
});
