import assert from 'node:assert/strict';
import { test } from 'node:test';
import { virtualisesInHardware } from './accel-probe.ts';

test('a processor without vmx and svm is not worth a boot on KVM', () => {
  const withFlags = (flags: string): boolean =>
    virtualisesInHardware(`model name\t: x svm y\nflags\t\t: ${flags}\nbugs\t: vmx`);
  assert.equal(withFlags('fpu vmx sse2'), true);
  assert.equal(withFlags('fpu svm'), true);
  assert.equal(withFlags('vmx'), true);
  assert.equal(withFlags('fpu vmx_x xsvm hypervisor'), false);
  assert.equal(withFlags(''), false);
});
