import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKind } from '../base/errors.ts';
import { newContainerId } from '../base/ids.ts';
import { Signal } from '../gen/cri/v1/api.ts';
import { canExec, canStart, canStop, containerState, ended, intendedStatus } from './container-state.ts';
import { findById } from './id-lookup.ts';
import { containerName, NameRegistry, sandboxName } from './names.ts';
import { canHoldContainers, isVisible, recoveryOf, sandboxState } from './sandbox-state.ts';
import { signalValue, stopSignalOf } from './stop-signal.ts';

test('each phase of a pod allows what its diagram says', () => {
  const rows = (['intended', 'ready', 'not-ready', 'removing'] as const).map((phase) => [
    phase,
    isVisible(phase),
    sandboxState(phase),
    canHoldContainers(phase),
    recoveryOf(phase),
  ]);
  assert.deepEqual(rows, [
    ['intended', false, 'not-ready', false, 'sweep'],
    ['ready', true, 'ready', true, 'take-up'],
    ['not-ready', true, 'not-ready', false, 'leave'],
    ['removing', true, 'not-ready', false, 'finish-removal'],
  ]);
});

test('each state of a container allows what its diagram says', () => {
  const created = { ...intendedStatus, intended: false };
  const running = { ...created, startedAtNs: '5' };
  const exited = { ...running, finishedAtNs: '6' };
  const rows = [
    intendedStatus,
    created,
    running,
    exited,
    { ...created, removing: true },
    { ...running, removing: true },
  ].map((status) => [containerState(status), canStart(status), canStop(status), canExec(status)]);
  assert.deepEqual(rows, [
    ['created', false, false, false],
    ['created', true, false, false],
    ['running', false, true, true],
    ['exited', false, false, false],
    ['created', false, false, false],
    ['running', false, true, false],
  ]);
});

test('the first end of a container counts', () => {
  const end = { exitCode: 0, finishedAtNs: 7n, oomKilled: false, message: '' };
  const first = ended({ ...intendedStatus, startedAtNs: '5' }, end);
  assert.equal(first.reason, 'Completed');
  assert.equal(ended(first, { ...end, exitCode: 1 }), first);
});

test('names are told apart whatever is in them', () => {
  const metadata = { name: 'a', namespace: 'b","c', uid: 'd', attempt: 0 };
  assert.notEqual(sandboxName(metadata), sandboxName({ ...metadata, namespace: 'b', uid: 'c","d' }));
  assert.notEqual(containerName('1', { name: '2', attempt: 3 }), containerName('12', { name: '', attempt: 3 }));
});

test('a name is held until its holder gives it back', () => {
  const names = new NameRegistry('pod sandbox');
  names.reserve('n', '1');
  names.reserve('n', '1');
  assert.throws(
    () => names.reserve('n', '2'),
    (error) => isKind(error, 'already-exists') && String(error).includes('"1"'),
  );
  names.release('n', '2');
  assert.equal(names.holder('n'), '1');
  names.release('n', '1');
  names.reserve('n', '2');
});

test('a record is found by its id and by a prefix that is its own', () => {
  const ids = ['a'.repeat(64), `ab${'0'.repeat(62)}`, `b${'0'.repeat(63)}`];
  const records = new Map(ids.map((id) => [id, { id }]));
  const store = {
    get: (id: string) => records.get(id),
    put: () => {},
    delete: () => {},
    list: () => [...records.values()],
  };
  const find = (id: string): string | undefined => findById(store, id, 'container')?.id;
  assert.deepEqual([find('a'.repeat(64)), find('ab'), find('b')], ids);
  for (const unknown of ['c', '', 'A', '../a', 'b'.repeat(65), newContainerId(), '__proto__'])
    assert.equal(find(unknown), undefined);
  assert.throws(
    () => find('a'),
    (error) => isKind(error, 'invalid-argument'),
  );
});

test('the stop signal is the pod\u2019s, else the image\u2019s, else TERM', () => {
  assert.equal(stopSignalOf(Signal.SIGRTMINPLUS3, 'SIGQUIT'), 'RTMIN+3');
  assert.equal(stopSignalOf(Signal.RUNTIME_DEFAULT, ''), 'TERM');
  for (const [ofImage, wanted] of [
    ['SIGQUIT', 'QUIT'],
    ['quit', 'QUIT'],
    ['3', '3'],
    ['SIGRTMIN+3', 'RTMIN+3'],
    ['RTMAX-2', 'RTMAX-2'],
  ] as const) {
    assert.equal(stopSignalOf(Signal.RUNTIME_DEFAULT, ofImage), wanted);
  }
  for (const bad of ['0', '65', '-9', '9; rm', 'SIGNOPE', 'SIG', '1'.repeat(100), '\n']) {
    assert.throws(
      () => stopSignalOf(Signal.RUNTIME_DEFAULT, bad),
      (error) => isKind(error, 'invalid-argument'),
      bad,
    );
  }
});

test('every signal of CRI goes into a record and comes back', () => {
  for (const value of Object.values(Signal)) {
    if (value > 0) assert.equal(signalValue(stopSignalOf(value, '')), value);
  }
  assert.equal(signalValue('9'), Signal.RUNTIME_DEFAULT);
});
