import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ContainerConfig } from '../../src/gen/cri/v1/api.ts';
import type { OciProcess } from '../../src/oci/runtime-spec.ts';
import { buildSpec } from '../../src/oci/spec.ts';
import { canJoin, decodeExecAnswer, type ExecTarget, encodeExec, encodeKeep, maxRequestBytes } from './exec-request.ts';

const config = ContainerConfig.fromPartial({ metadata: { name: 'c', attempt: 0 }, command: ['sleep'] } as object);
const image = { env: [], workingDir: '', entrypoint: [], cmd: [] };
const spec = buildSpec({ containerId: 'a1', config, image, hostname: 'h' });
const target: ExecTarget = { id: 'a1', pid: 7, startTicks: '99', spec, filter: undefined };

function textsOf(process: Partial<OciProcess>): string[] {
  const wish = { process: { ...spec.process, ...process }, cgroup: '/c/exec-1', streams: [-1, 5, 6] as const };
  const frame = encodeExec(3, target, wish);
  assert.equal(frame.readUInt32LE(0), frame.length - 4);
  return frame.subarray(4).toString().split('\0');
}

test('a request names the container, what it joins and what it becomes', () => {
  const texts = textsOf({ args: ['a=b', ''], env: ['X=1', 'Y=', 'X=2'], cwd: '/w' });
  assert.equal(texts[0], 'id=3');
  for (const text of ['pid=7', 'start=99', 'namespaces=mnt,cgroup,pid', 'cgroup=/c/exec-1', 'streams=-1:5:6', 'cwd=/w'])
    assert.ok(texts.includes(text), text);
  assert.deepEqual(
    texts.filter((text) => /^(arg|env)=/.test(text)),
    ['arg=a=b', 'arg=', 'env=X=2', 'env=Y='],
  );
  assert.equal(texts.at(-1), '');
});

test('capabilities are masks by their numbers, and names that Linux lacks count for nothing', () => {
  const none: string[] = [];
  const capabilities = {
    bounding: ['CAP_CHOWN', 'CAP_CHECKPOINT_RESTORE'],
    effective: ['CAP_KILL', 'CAP_NONE'],
    permitted: none,
    inheritable: none,
    ambient: ['CAP_AUDIT_READ'],
  };
  assert.ok(textsOf({ capabilities }).includes('capabilities=10000000001:20:0:0:2000000000'));
});

test('limits are numbers, and an unknown one is refused', () => {
  const texts = textsOf({ rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1, hard: 2 }] });
  assert.ok(texts.includes('limit=7:1:2'));
  assert.throws(() => textsOf({ rlimits: [{ type: 'RLIMIT_NONE', soft: 1, hard: 2 }] }), /rlimit "RLIMIT_NONE"/);
});

test('a NUL cannot begin another text, and a request has a cap', () => {
  assert.throws(() => textsOf({ args: ['a\0uid=0'] }), /holds a NUL/);
  assert.throws(() => textsOf({ args: ['x'.repeat(maxRequestBytes)] }), /at most/);
  assert.match(encodeKeep(4, target, '/f').toString(), /id=4\0pid=7\0start=99\0keep=\/f\0$/);
});

test('an answer is a pid or a reason, and nothing else', () => {
  assert.deepEqual(decodeExecAnswer(Buffer.from('id=3\0pid=12\0')), { id: 3, outcome: { pid: 12 } });
  assert.deepEqual(decodeExecAnswer(Buffer.from('id=3\0error=a=b\n\0')), { id: 3, outcome: { error: 'a=b\n' } });
  for (const text of ['', 'id=3\0', 'id=3\0pid=x\0', 'id=x\0pid=1\0', 'id=3\0pid=1\0more'])
    assert.throws(() => decodeExecAnswer(Buffer.from(text)), /answer/);
});

test('only what husk-exec knows is joined by it', () => {
  assert.equal(canJoin(spec), true);
  const user = { ...spec, linux: { ...spec.linux, namespaces: [{ type: 'user' as const }] } };
  assert.equal(canJoin(user), false);
  assert.equal(canJoin({ ...spec, process: { ...spec.process, apparmorProfile: 'x' } }), false);
});
