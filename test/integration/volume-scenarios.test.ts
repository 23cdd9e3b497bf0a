/**
 * The volume scenarios by runC on the host, in a VM pod and in a native pod: what the containers see
 * and what the host has afterwards is compared. `HUSK_UPDATE=1` writes the result into
 * docs/compatibility.md; without it the document must say what was found.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Row, verdict, withTable } from '../compat/volumes/report.ts';
import { byRunc, inPod, type Outcome, runScenarios } from '../compat/volumes/run.ts';
import { scenarios } from '../compat/volumes/table.ts';
import type { Daemon } from '../helpers/daemon.ts';
import { type DaemonWithImage, startDaemonWithImage } from '../helpers/daemon-with-image.ts';

const image = 'docker.io/library/busybox:latest';
const document = join(import.meta.dirname, '../../docs/compatibility.md');
const folder = mkdtempSync(join(tmpdir(), 'husk-compat-'));
const outcomes: Record<'runc' | 'vm' | 'native', Outcome[]> = { runc: [], vm: [], native: [] };
let daemon: Daemon;
let close: DaemonWithImage['close'] | undefined;

before(async () => {
  ({ daemon, close } = await startDaemonWithImage());
  outcomes.runc = await runScenarios(scenarios, byRunc(folder));
  // The daemon's first pod is a native one: VM pods must start after it too.
  for (const handler of ['native', 'vm'] as const) {
    const pod = inPod(daemon, image, handler);
    outcomes[handler] = await runScenarios(scenarios, pod.run);
    await pod.remove();
  }
});
after(async () => {
  await close?.();
  rmSync(folder, { recursive: true, force: true });
});

for (const [index, scenario] of scenarios.entries()) {
  const name = `${scenario.group}: ${scenario.name}`;
  test(`native pod: ${name}`, () => assert.deepEqual(outcomes.native[index], outcomes.runc[index]));
  test(`VM pod: ${name}`, () => {
    if (scenario.vmDiffers === undefined) assert.deepEqual(outcomes.vm[index], outcomes.runc[index]);
    else assert.notDeepEqual(outcomes.vm[index], outcomes.runc[index], 'a known difference is gone: say so');
  });
}

test('docs/compatibility.md says what was found', () => {
  const rows = scenarios.map((scenario, index): Row => {
    const reference = outcomes.runc[index] as Outcome;
    const against = (found: readonly Outcome[]): Row['vm'] => verdict(reference, found[index] as Outcome);
    return { scenario, vm: against(outcomes.vm), native: against(outcomes.native) };
  });
  const wanted = withTable(readFileSync(document, 'utf8'), rows);
  if (process.env['HUSK_UPDATE'] === '1') writeFileSync(document, wanted);
  assert.equal(readFileSync(document, 'utf8'), wanted);
});
