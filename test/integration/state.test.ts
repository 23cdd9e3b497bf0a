import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { parseSample, sample } from '../../src/base/records.contract.ts';
import { openState } from '../../src/state/open-state.ts';

const writer = join(import.meta.dirname, '../fixtures/state-writer.ts');

describe('state whose daemon is killed', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'husk-kill-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  it('loses no acknowledged write, at 100 cut points', async () => {
    for (let cut = 1; cut <= 100; cut += 1) {
      const acknowledged = await writeAndKill(folder, 1 + (cut % 7), cut);
      const state = openState(folder, silentLog);
      const found = state.records('sample', parseSample).list();
      assert.deepEqual(state.quarantined(), []);
      state.close();
      const last = found.at(-1)?.count ?? -1;
      assert.ok(last >= acknowledged, `cut ${cut}: ${acknowledged} was acknowledged, ${last} is the last found`);
      assert.deepEqual(
        found,
        Array.from({ length: last + 1 }, (_, each) => sample(each)),
      );
    }
  });
});

/** Lets a child write on from where the folder stands; kills it after `acks` acknowledged writes and a moment. */
async function writeAndKill(folder: string, acks: number, spin: number): Promise<number> {
  const child = spawn(process.execPath, [writer, folder], { stdio: ['ignore', 'pipe', 'inherit'] });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  let last = -1;
  let seen = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    last = Number(line);
    seen += 1;
    if (seen !== acks) continue;
    assert.throws(() => openState(folder, silentLog), new RegExp(`another huskd \\(pid ${child.pid}\\) holds it`));
    // Some microseconds, different each time, so that the cut falls at different points of a write.
    const until = performance.now() + spin / 40;
    while (performance.now() < until);
    child.kill('SIGKILL');
  }
  await gone;
  return last;
}
