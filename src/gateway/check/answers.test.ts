import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerState } from '../../gen/agent/v1/agent.ts';
import {
  checkConfigureSandbox,
  checkContainerStates,
  checkCreateContainer,
  checkExecResult,
  checkExited,
  checkHello,
  checkStartContainer,
  checkSteps,
} from './answers.ts';
import { cleanText } from './text.ts';

const id = 'a'.repeat(64);
const now = 1_800_000_000_000_000_000n;
const second = 1_000_000_000n;

test('Hello must echo the nonce, and its texts are cut and cleaned', () => {
  const nonce = Buffer.from('n');
  const answer = {
    nonce,
    guestImage: 'x'.repeat(10_000),
    kernelRelease: '6.1\n\x1b[2J',
    ociRuntimeVersion: '',
    configured: true,
  };
  const checked = checkHello(answer, nonce);
  assert.equal(checked.guestImage.length, 259);
  assert.equal(checked.kernelRelease, '6.1??[2J');
  assert.throws(() => checkHello(answer, Buffer.from('m')), /another nonce/);
});

test('answers that no honest agent gives are refused', () => {
  assert.throws(() => checkConfigureSandbox({ randomSample: Buffer.alloc(31), steps: [] }), /want 32/);
  assert.throws(() => checkCreateContainer({ user: undefined, steps: [] }), /without a user/);
  const supplementalGroups = Array.from({ length: 70_000 }, () => 1);
  assert.throws(() => checkCreateContainer({ user: { uid: 0, gid: 0, supplementalGroups }, steps: [] }), /groups/);
  for (const exitCode of [-1, 256, 2 ** 31 - 1]) {
    assert.throws(() => checkExecResult({ exitCode, timedOut: false }), /exit code/);
    assert.throws(
      () => checkExited({ containerId: id, exitCode, oomKilled: false, finishedAtNs: now }, now),
      /exit code/,
    );
  }
  assert.throws(
    () => checkExited({ containerId: '../x', exitCode: 0, oomKilled: false, finishedAtNs: now }, now),
    /no such id/,
  );
});

test("times that cannot be become the host's", () => {
  assert.equal(
    checkStartContainer({ startedAtNs: now - second, steps: [] }, now - 2n * second, now).startedAtNs,
    now - second,
  );
  assert.equal(checkStartContainer({ startedAtNs: 0n, steps: [] }, now - second, now).startedAtNs, now);
  assert.equal(checkStartContainer({ startedAtNs: now + second, steps: [] }, now, now).startedAtNs, now);
  const finished = (finishedAtNs: bigint): bigint =>
    checkExited({ containerId: id, exitCode: 0, oomKilled: false, finishedAtNs }, now).finishedAtNs;
  assert.equal(finished(now - 3_600n * second), now - 3_600n * second);
  for (const lie of [-1n, 0n, now + 60n * second, 2n ** 63n - 1n]) assert.equal(finished(lie), now);
});

test('a list of containers is checked, and what nobody knows is left out', () => {
  const running: ContainerState = { containerId: id, state: 'running', exited: undefined };
  const other = 'b'.repeat(64);
  const list = (states: ContainerState[]): ContainerState[] =>
    checkContainerStates(states, (given) => given === id, now);
  assert.deepEqual(list([running, { ...running, containerId: other }]), [running]);
  const exited = { containerId: other, exitCode: 0, oomKilled: false, finishedAtNs: now };
  for (const bad of [
    [running, running],
    [{ ...running, state: 'paused' }],
    [{ ...running, containerId: 'x' }],
    [{ ...running, state: 'exited' }],
    [{ ...running, exited }],
    [{ ...running, state: 'exited', exited }],
    Array.from({ length: 2_000 }, () => running),
  ]) {
    assert.throws(() => list(bad), /agent protocol/);
  }
});

test('text is cut, and control, bidirectional and lone surrogate characters are replaced', () => {
  assert.equal(cleanText('a\0b\u202ec\u2028d\ud800é'), 'a?b?c?d?é');
  assert.equal(cleanText('x'.repeat(2_000)).length, 1_027);
});

test('steps of the guest are shown with clean names, bounded, and never before they began', () => {
  const step = { name: 'sys\u001b[2J mount', startUs: 5, endUs: 9 };
  assert.deepEqual(checkSteps([step, { name: 'back', startUs: 9, endUs: 5 }]), [{ ...step, name: 'sys?[2J mount' }]);
  assert.equal(checkSteps([{ ...step, name: 'x'.repeat(10_000) }])[0]?.name.length, 43);
  assert.throws(() => checkSteps(Array.from({ length: 65 }, () => step)), /at most 64/);
});
