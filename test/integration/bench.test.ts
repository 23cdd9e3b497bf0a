/** The benchmark itself, as small as it can be: a whole run, and one that is interrupted. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readResults } from '../bench/results.ts';
import { assertCensus, takeCensus } from '../helpers/census.ts';

const repository = join(import.meta.dirname, '../..');
/** What others do on the machine meanwhile does not count: only what carries the names of a run's folders. */
const ofRuns = { processes: /husk-bench-(?!test-out)/, kinds: ['processes'] };
const png = '89504e470d0a1a0a';

let out: string;
before(async () => {
  out = await mkdtemp(join(tmpdir(), 'husk-bench-test-out-'));
});
after(() => rm(out, { recursive: true, force: true }));

function start(...args: string[]): { child: ChildProcess; said: () => string } {
  const child = spawn(process.execPath, ['test/bench/main.ts', '--tiny', `--out=${out}`, ...args], {
    cwd: repository,
    stdio: ['ignore', 'pipe', 'pipe'],
    // A process group of its own, so that it can be interrupted as a terminal does it.
    detached: true,
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (said += String(chunk)));
  return { child, said: () => said };
}

async function leftOf(pid: number): Promise<string[]> {
  const links = Object.keys(networkInterfaces()).filter((name) => new RegExp(`^h(sk|bc)${pid % 100_000}x`).test(name));
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .filter((line) => line.includes('/husk-bench-'));
  const folders = (await readdir(tmpdir())).filter((name) => /^husk-bench-(?!test-out)/.test(name));
  return [...links, ...folders, ...mounts];
}

test('a tiny run measures both runtimes, writes everything down, and leaves nothing', async () => {
  const census = await takeCensus(ofRuns);
  const { child, said } = start('--only=pods,scale,streams');
  const [code] = await once(child, 'close');
  // 3: on a machine that others use the figures do not count, and the run says so.
  assert.ok(code === 0 || code === 3, said());
  const { samples, invalid, conditions, scale, timelines } = await readResults(join(out, 'results.json'));
  assert.deepEqual(
    invalid.filter((reason) => !/busy before|foreign process/.test(reason)),
    [],
  );
  assert.equal(code === 3, invalid.length > 0);
  const streams = ['native', 'vm'].flatMap((kind) => [`${kind}-first-byte`, `${kind}-stdout`, `${kind}-forward`]);
  for (const metric of [
    'run',
    'create',
    'start',
    'ready',
    'exec',
    'stop-remove',
    'memory',
    'footprint',
    'list-pods',
    ...streams,
  ]) {
    for (const subject of ['husk', 'containerd']) {
      const values = samples[metric]?.[subject] ?? [];
      assert.ok(values.length > 0 && values.every((value) => Number.isFinite(value)), `${metric} of ${subject}`);
    }
  }
  assert.equal(scale.length, 4);
  const trace = await readFile(join(out, 'trace.txt'), 'utf8');
  for (const name of ['spawn_called', 'qmp_greeting', 'incoming_done', 'agent attach', 'guest call', 'guest sys']) {
    assert.match(trace, new RegExp(name), name);
  }
  assert.ok(timelines[0]?.steps.some(({ step }) => step === 'identity'));
  assert.match(conditions.accelerator, /^(tcg|kvm)$/);
  assert.match(await readFile(join(out, 'report.md'), 'utf8'), /\| RunPodSandbox \| ms \|/);
  for (const name of ['start', 'latency', 'memory']) {
    assert.equal((await readFile(join(out, `${name}.png`))).subarray(0, 8).toString('hex'), png, name);
  }
  await assertCensus(census, ofRuns);
  assert.deepEqual(await leftOf(child.pid ?? 0), []);
});

test('a run that is interrupted takes both runtimes and their pods away', async () => {
  const census = await takeCensus(ofRuns);
  const { child, said } = start('--only=native,scale', '--set=scale.pods=50');
  const pods = async (): Promise<boolean> =>
    (await takeCensus({ processes: /qemu-system.*husk-bench-|husk-bench-.*qemu-system/ })).get('processes')?.length !==
    0;
  const until = performance.now() + 200_000;
  while (child.exitCode === null && performance.now() < until && !(await pods())) {
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  assert.equal(child.exitCode, null, said());
  process.kill(-(child.pid ?? 0), 'SIGINT');
  const [code] = await once(child, 'close');
  assert.equal(code, 130, said());
  const { invalid, samples } = await readResults(join(out, 'results.json'));
  assert.ok(invalid.includes('section "scale" was interrupted'), invalid.join('; '));
  assert.ok((samples['native-ready']?.['husk'] ?? []).length > 0, 'what was measured before is kept');
  await assertCensus(census, ofRuns);
  assert.deepEqual(await leftOf(child.pid ?? 0), []);
});
