import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultCapabilities } from './capabilities.ts';
import { defaultSeccompProfile } from './seccomp.ts';

const plain = defaultSeccompProfile(defaultCapabilities);
const allows = (profile: typeof plain, name: string): boolean =>
  profile.syscalls.some(
    (rule) => rule.action === 'SCMP_ACT_ALLOW' && rule.names.includes(name) && rule.args === undefined,
  );

test('what is not on the list answers EPERM', () => {
  assert.equal(plain.defaultAction, 'SCMP_ACT_ERRNO');
  for (const name of [
    'keyctl',
    'bpf',
    'mount',
    'unshare',
    'setns',
    'init_module',
    'reboot',
    'io_uring_setup',
    'userfaultfd',
  ]) {
    assert.ok(!allows(plain, name), name);
  }
});

test('ordinary programs find what they need', () => {
  for (const name of ['read', 'openat', 'execve', 'futex', 'epoll_wait', 'statx', 'rseq', 'faccessat2']) {
    assert.ok(allows(plain, name), name);
  }
});

test('a granted capability opens its calls', () => {
  const admin = defaultSeccompProfile([...defaultCapabilities, 'CAP_SYS_ADMIN']);
  for (const name of ['mount', 'sethostname', 'clone', 'unshare']) assert.ok(allows(admin, name), name);
});

test('clone without new namespaces passes, clone3 sends libc back to clone', () => {
  const clone = plain.syscalls.find((rule) => rule.names.includes('clone'));
  assert.deepEqual(clone?.args, [{ index: 0, value: 0x7e02_0000, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }]);
  assert.equal(plain.syscalls.find((rule) => rule.names.includes('clone3'))?.errnoRet, 38);
});

test('crypto and vsock sockets are refused, every other family passes', () => {
  const rules = plain.syscalls.filter((rule) => rule.names.includes('socket'));
  const verdict = (family: number): string => {
    const hit = rules.find((rule) => {
      const [arg] = rule.args ?? [];
      if (arg === undefined) return true;
      if (arg.op === 'SCMP_CMP_EQ') return family === arg.value;
      return arg.op === 'SCMP_CMP_LT' ? family < arg.value : family > arg.value;
    });
    return hit?.action ?? plain.defaultAction;
  };
  for (let family = 0; family < 64; family += 1) {
    const expected = family === 38 || family === 40 ? 'SCMP_ACT_ERRNO' : 'SCMP_ACT_ALLOW';
    assert.equal(verdict(family), expected, `family ${family}`);
  }
});
