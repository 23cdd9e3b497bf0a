import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { HuskError, isKind } from '../base/errors.ts';
import { formatReference, parseReference, repoTag } from './reference.ts';

const hex = 'a'.repeat(64);

describe('a reference', () => {
  for (const [text, wanted] of [
    ['busybox', 'docker.io/library/busybox:latest'],
    ['busybox:1.36', 'docker.io/library/busybox:1.36'],
    ['user/app', 'docker.io/user/app:latest'],
    ['docker.io/busybox', 'docker.io/library/busybox:latest'],
    ['index.docker.io/library/busybox', 'docker.io/library/busybox:latest'],
    ['localhost/app', 'localhost/app:latest'],
    ['localhost:5000/app', 'localhost:5000/app:latest'],
    ['localhost:5000/a/b__c/d-e.f:T_1', 'localhost:5000/a/b__c/d-e.f:T_1'],
    ['registry.k8s.io/pause:3.9', 'registry.k8s.io/pause:3.9'],
    ['[::1]:5000/x', '[::1]:5000/x:latest'],
    ['MyHost/x', 'MyHost/x:latest'],
    [`busybox@sha256:${hex}`, `docker.io/library/busybox@sha256:${hex}`],
    [`localhost:5000/x:1@sha256:${hex}`, `localhost:5000/x:1@sha256:${hex}`],
  ] as const) {
    it(`"${text}" means ${wanted}`, () => assert.equal(formatReference(parseReference(text)), wanted));
  }

  for (const text of [
    '',
    ' busybox',
    'busybox ',
    'Busybox',
    'a//b',
    '/a',
    'a/',
    'a/../b',
    'a/.b',
    '-a',
    'a_',
    'a:',
    'a:-t',
    `a:${'t'.repeat(129)}`,
    'a@',
    'a@sha256:xyz',
    `a@sha256:${hex.toUpperCase()}`,
    `a@sha512:${'a'.repeat(128)}`,
    `a@sha256:${hex}@sha256:${hex}`,
    'http://host/x',
    'host:99999/x',
    'host:0/x',
    'host.:5000/x',
    'a\nb',
    'a\0',
    'x'.repeat(256),
    'é',
    'a?b',
    'a%2fb',
    'host.example/../etc/passwd',
  ]) {
    it(`refuses ${JSON.stringify(text.slice(0, 40))}`, () => {
      assert.throws(
        () => parseReference(text),
        (caught) => isKind(caught, 'invalid-argument'),
      );
    });
  }

  it('names no tag when it names a digest', () => {
    assert.equal(repoTag(parseReference(`busybox:1@sha256:${hex}`)), undefined);
  });

  it('either is refused or reads the same after it was written', () => {
    const part = fc.stringMatching(/^[a-zA-Z0-9._:/@[\]-]{0,60}$/);
    fc.assert(
      fc.property(fc.oneof(part, fc.string()), (text) => {
        try {
          const parsed = parseReference(text);
          assert.deepEqual(parseReference(formatReference(parsed)), parsed);
          assert.doesNotMatch(parsed.repository, /\.\.|[^a-z0-9._/-]/);
        } catch (caught) {
          assert.ok(caught instanceof HuskError && caught.kind === 'invalid-argument', String(caught));
        }
      }),
      { numRuns: 2000 },
    );
  });
});
