import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { isKind } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { parseSample, sample } from '../base/records.contract.ts';
import { openState } from './open-state.ts';

/** Small seeded random numbers, so that a failure can be repeated. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % below;
  };
}

describe('damaged state', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'husk-damage-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  it('starts after 40 truncations and flipped bits, and believes no record that was changed', () => {
    const whole = join(folder, 'whole');
    const state = openState(whole, silentLog);
    const store = state.records('sample', parseSample);
    const written = Array.from({ length: 200 }, (_, each) => sample(each));
    for (const each of written) store.put(`id-${each.count}`, each);
    state.close();
    const bytes = readFileSync(join(whole, 'state.db'));
    const random = randomOf(20_261_124);
    let kept = 0;
    for (let mutation = 0; mutation < 40; mutation += 1) {
      kept += openMutated(join(folder, `m${mutation}`), mutate(bytes, mutation, random), written);
    }
    assert.ok(kept > 0, 'some records outlive some mutations');
  });
});

function mutate(bytes: Buffer, mutation: number, random: (below: number) => number): Buffer {
  if (mutation % 4 === 0) return bytes.subarray(0, random(bytes.length));
  const copy = Buffer.from(bytes);
  for (let flips = 0; flips < 1 + (mutation % 3); flips += 1) {
    const at = random(copy.length);
    copy.writeUInt8(copy.readUInt8(at) ^ (1 << random(8)), at);
  }
  return copy;
}

function openMutated(folder: string, bytes: Buffer, written: readonly unknown[]): number {
  openState(folder, silentLog).close();
  writeFileSync(join(folder, 'state.db'), bytes);
  try {
    const state = openState(folder, silentLog);
    const store = state.records('sample', parseSample);
    const found = store.list();
    for (const each of found) assert.deepEqual(each, written[each.count]);
    store.put('new', sample(1));
    state.close();
    return found.length;
  } catch (caught) {
    // A bit of the version itself: the one damage that must look like a later program.
    assert.ok(isKind(caught, 'failed-precondition'), String(caught));
    return 0;
  }
}
