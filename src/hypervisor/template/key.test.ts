import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type TemplateInputs, templateKey } from './key.ts';

const inputs: TemplateInputs = {
  guestImage: 'a',
  qemuVersion: '7.2.22',
  qemuDigest: 'b',
  accelerator: 'tcg',
  processor: 'c',
  diskBytes: 4096,
  argv: ['-m', '256'],
};

test('the key is stable and a name for a folder', () => {
  assert.match(templateKey(inputs), /^[0-9a-f]{64}$/);
  assert.equal(templateKey({ ...inputs }), templateKey(inputs));
});

test('every input changes the key', () => {
  const changes: Partial<TemplateInputs>[] = [
    { guestImage: 'x' },
    { qemuVersion: '7.2.23' },
    { qemuDigest: 'x' },
    { accelerator: 'kvm' },
    { processor: 'x' },
    { diskBytes: 8192 },
    { argv: ['-m', '512'] },
    { argv: ['-m 256'] },
  ];
  const keys = new Set([inputs, ...changes.map((change) => ({ ...inputs, ...change }))].map(templateKey));
  assert.equal(keys.size, changes.length + 1);
});
