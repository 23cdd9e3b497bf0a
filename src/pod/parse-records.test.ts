import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { HuskError } from '../base/errors.ts';
import { parseContainerRecord, parseSandboxRecord } from './parse-records.ts';

const sandbox = {
  version: 1,
  id: 'ab'.repeat(32),
  metadata: { name: 'web', namespace: 'default', uid: 'u-1', attempt: 2 },
  labels: { app: 'web', ['__proto__x']: '' },
  annotations: { note: 'line\nline' },
  configBase64: 'CgA=',
  runtimeHandler: '',
  runtime: 'vm',
  runtimeReason: 'no node namespaces asked for',
  createdAtNs: '1790000000000000000',
  status: {
    phase: 'ready',
    reason: '',
    ips: ['10.88.0.2', 'fd00::2'],
    runtimeState: { pid: 12, list: [null, true] },
    timeline: [{ step: 'cni-add', atMs: 12.5 }],
  },
};

const container = {
  version: 1,
  id: 'cd'.repeat(32),
  sandboxId: 'ab'.repeat(32),
  metadata: { name: 'main', attempt: 0 },
  labels: {},
  annotations: {},
  configBase64: '',
  imageId: `sha256:${'0'.repeat(64)}`,
  imageName: 'busybox',
  stopSignal: 'TERM',
  logPath: '',
  createdAtNs: '1',
  status: {
    intended: false,
    startedAtNs: '2',
    finishedAtNs: '',
    exitCode: 0,
    reason: '',
    message: '',
    user: { uid: 0, gid: 0, supplementalGroups: [10] },
    removing: false,
    resourcesBase64: '',
  },
};

type Mutable = Record<string, unknown>;

/** A copy with the field at the dotted path replaced. */
function change(record: object, path: string, value: unknown): unknown {
  const copy = structuredClone(record) as Mutable;
  const keys = path.split('.');
  const last = keys.pop() ?? '';
  let at: Mutable = copy;
  for (const key of keys) at = at[key] as Mutable;
  at[last] = value;
  return copy;
}

describe('parseSandboxRecord', () => {
  it('gives back a record that went through JSON', () => {
    assert.deepEqual(parseSandboxRecord(JSON.parse(JSON.stringify(sandbox))), sandbox);
  });
  const bad: [path: string, value: unknown, message: RegExp][] = [
    ['version', 2, /read "version": found 2, wanted 1/],
    ['version', undefined, /found nothing, wanted 1/],
    ['id', '../../etc', /read "id": found "\.\.\/\.\.\/etc", wanted 64/],
    ['metadata', [], /read "metadata": found a list, wanted an object/],
    ['metadata.attempt', 1.5, /read "metadata.attempt": found 1.5, wanted an integer/],
    ['labels.app', 7, /read "labels.app": found 7, wanted a string/],
    ['configBase64', 'CgA', /base64/],
    ['runtime', 'docker', /read "runtime": found "docker", wanted "vm" or "native"/],
    ['createdAtNs', '-1', /createdAtNs/],
    ['status.phase', 'up', /status.phase/],
    ['status.ips', ['a', 3], /status.ips\[1\]/],
    ['status.timeline', [{ step: 'x', atMs: null }], /status.timeline\[0\].atMs/],
  ];
  for (const [path, value, message] of bad) {
    it(`refuses ${path} = ${JSON.stringify(value)}`, () => {
      assert.throws(() => parseSandboxRecord(change(sandbox, path, value)), { kind: 'invalid-argument', message });
    });
  }
});

describe('parseContainerRecord', () => {
  it('gives back a record that went through JSON', () => {
    assert.deepEqual(parseContainerRecord(JSON.parse(JSON.stringify(container))), container);
  });
  it('takes a container whose user is not known yet', () => {
    assert.equal(parseContainerRecord(change(container, 'status.user', null)).status.user, null);
  });
  const bad: [path: string, value: unknown, message: RegExp][] = [
    ['version', '1', /read "version": found "1", wanted 1/],
    ['sandboxId', 'AB'.repeat(32), /sandboxId/],
    ['imageId', 'sha256:zz', /imageId/],
    ['logPath', 'relative/path', /logPath/],
    ['status.intended', 'no', /status.intended/],
    ['status.exitCode', null, /status.exitCode/],
    ['status.user', undefined, /status.user/],
    ['status.user.supplementalGroups', ['x'], /supplementalGroups\[0\]/],
  ];
  for (const [path, value, message] of bad) {
    it(`refuses ${path} = ${JSON.stringify(value)}`, () => {
      assert.throws(() => parseContainerRecord(change(container, path, value)), { kind: 'invalid-argument', message });
    });
  }
  it('answers any JSON with a record or a HuskError', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        for (const parse of [parseSandboxRecord, parseContainerRecord]) {
          assert.throws(() => parse(value), HuskError);
        }
      }),
    );
  });
});
