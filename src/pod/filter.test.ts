import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { newContainerId, newSandboxId } from '../base/ids.ts';
import { containerState, intendedStatus } from './container-state.ts';
import { containerMatches, hasLabels, sandboxMatches } from './filter.ts';
import type { ContainerRecord, SandboxRecord } from './records.ts';
import { isVisible, sandboxState } from './sandbox-state.ts';

const key = fc.constantFrom('a', 'b', 'c', 'toString', 'ü');
const labels = fc.dictionary(key, fc.constantFrom('', '1', '2'));
const phase = fc.constantFrom('intended', 'ready', 'not-ready', 'removing' as const);
const prefixChars = fc.constantFrom(0, 1, 13, 64);

function sandbox(change: Partial<SandboxRecord>): SandboxRecord {
  return { id: newSandboxId(), labels: {}, status: { phase: 'ready' }, ...change } as SandboxRecord;
}

test('a pod passes exactly when every part of the filter holds', () => {
  const state = fc.constantFrom('ready', 'not-ready', undefined);
  fc.assert(
    fc.property(
      phase,
      labels,
      labels,
      state,
      prefixChars,
      fc.boolean(),
      (at, own, wanted, wantedState, chars, same) => {
        const record = sandbox({ labels: own, status: { phase: at } as SandboxRecord['status'] });
        const id = (same ? record.id : newSandboxId()).slice(0, chars);
        const expected =
          isVisible(at) &&
          record.id.startsWith(id) &&
          (wantedState === undefined || wantedState === sandboxState(at)) &&
          Object.entries(wanted).every((entry) =>
            Object.entries(own).some(([k, v]) => k === entry[0] && v === entry[1]),
          );
        assert.equal(sandboxMatches(record, { id, state: wantedState, labels: wanted }), expected);
      },
    ),
  );
});

test('a container passes exactly when every part of the filter holds', () => {
  const state = fc.constantFrom('created', 'running', 'exited', undefined);
  const time = fc.constantFrom('0', '7');
  fc.assert(
    fc.property(
      time,
      time,
      fc.boolean(),
      state,
      prefixChars,
      (startedAtNs, finishedAtNs, intended, wantedState, chars) => {
        const status = { ...intendedStatus, startedAtNs, finishedAtNs, intended };
        const record = {
          id: newContainerId(),
          sandboxId: newSandboxId(),
          labels: {},
          status,
        } as unknown as ContainerRecord;
        const filter = { id: '', sandboxId: record.sandboxId.slice(0, chars), state: wantedState, labels: {} };
        const expected = !intended && (wantedState === undefined || wantedState === containerState(status));
        assert.equal(containerMatches(record, filter), expected);
        assert.equal(containerMatches(record, { ...filter, labels: { any: '' } }), false);
      },
    ),
  );
});

test('a filter with more parts never passes more', () => {
  fc.assert(
    fc.property(labels, labels, labels, (own, some, more) => {
      if (hasLabels(own, { ...some, ...more })) assert.ok(hasLabels(own, more));
    }),
  );
});

test('a label that every object inherits is no label', () => {
  assert.equal(hasLabels({}, { toString: '' }), false);
  assert.equal(hasLabels({}, {}), true);
});
