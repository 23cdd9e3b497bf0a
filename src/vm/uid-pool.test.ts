import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { UidPool } from './uid-pool.ts';

describe('the uids of VMs', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'husk-uids-'));
  });
  beforeEach(() => {
    for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
    for (const name of ['a', 'b']) mkdirSync(join(folder, name));
  });
  after(() => rmSync(folder, { recursive: true }));

  const pool = (owner: string, ...held: number[]): UidPool =>
    new UidPool({ first: 700, count: 3, leases: join(folder, 'leases'), owner: join(folder, owner) }, held);

  it('are never the same for two daemons', () => {
    const [a, b] = [pool('a'), pool('b')];
    const taken = [a.take(), b.take(), a.take()];
    assert.equal(new Set(taken).size, 3);
    assert.throws(() => b.take(), { kind: 'resource-exhausted', message: /all 3 from 700/ });
    a.give(taken[0] as number);
    assert.equal(b.take(), taken[0]);
  });

  it('go round: the one given back last is used last', () => {
    const a = pool('a');
    const first = a.take();
    a.give(first);
    assert.notEqual(a.take(), first);
  });

  it('are given back by the daemon that was killed holding them, unless a pod stands for them', () => {
    const dead = pool('a');
    const [kept, lost] = [dead.take(), dead.take()];
    const other = pool('b').take();
    const again = pool('a', kept);
    assert.deepEqual(readdirSync(join(folder, 'leases')), [String(kept), String(other)]);
    assert.equal(again.take(), lost);
  });

  it('are not given back by a daemon that does not hold them', () => {
    const uid = pool('a').take();
    pool('b', uid).give(uid);
    assert.deepEqual(readdirSync(join(folder, 'leases')), [String(uid)]);
  });
});
