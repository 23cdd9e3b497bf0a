import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { silentLog } from '../../base/log.ts';
import { lockFolder } from '../../state/folder-lock.ts';
import { type Config, resolveConfig } from '../config.ts';
import { newRun, runConfig } from './places.ts';
import { knownRuns, withShared } from './shared-state.ts';

const folder = mkdtempSync(join(tmpdir(), 'husk-runs-'));
after(() => rmSync(folder, { recursive: true }));

function configIn(name: string, stateDirectory = '/tmp/s'): Config {
  const root = join(folder, name);
  return { ...resolveConfig({ rootDirectory: root }, undefined), stateDirectory };
}
const turn = (config: Config, waitMs: number) => ({ config, log: silentLog, waitMs });

test('one works on what is shared at a time; who waits for too long is told for whom', async () => {
  const config = configIn('turns', join(folder, 'turns/state'));
  const order: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const first = withShared(turn(config, 1_000), async () => {
    order.push('first');
    begun.resolve();
    await promise;
  });
  // Who comes first is otherwise not said: making the folders takes them differently long.
  await Promise.race([first, begun.promise]);
  const second = withShared(turn(config, 60_000), async () => void order.push('second'));
  await assert.rejects(
    withShared(turn(config, 0), async () => undefined),
    { kind: 'deadline-exceeded', message: /another husk run holds it/ },
  );
  assert.deepEqual(order, ['first']);
  resolve();
  await Promise.all([first, second]);
  assert.deepEqual(order, ['first', 'second']);
});

test('a run lives while its folder is held', async () => {
  const config = configIn('alive');
  const [held, left] = [await newRun(config), await newRun(config)];
  const lock = lockFolder(runConfig(config, held).rootDirectory);
  const alive = new Map((await knownRuns(config)).map((run) => [run.id, run.alive]));
  assert.deepEqual([alive.size, alive.get(held), alive.get(left)], [2, true, false]);
  lock.release();
  assert.deepEqual(
    (await knownRuns(config)).map((run) => run.alive),
    [false, false],
  );
});

test('a state directory that leaves no room for the sockets is refused', async () => {
  await assert.rejects(newRun(configIn('long', '/a/state/directory')), {
    kind: 'invalid-argument',
    message: /--state-directory "\/a\/state\/directory": wanted at most 16 bytes/,
  });
});
