import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { sleep } from '../../src/base/deadline.ts';
import { complaints, type LoadLook, LoadWatch, notMeasured, OursSoFar, strangers } from './load.ts';
import { ownedBy, type Process, readProcesses } from './processes.ts';

const at = (...list: [pid: number, parent: number, ownCpuMs: number, startTicks?: string][]): Map<number, Process> =>
  new Map(
    list.map(([pid, parent, ownCpuMs, startTicks = '1']) => [
      pid,
      { pid, parent, session: 1, ownCpuMs, cpuMs: ownCpuMs, startTicks, name: 'x' },
    ]),
  );

const isOf = (leader: number, pid: number): boolean => readProcesses().get(pid)?.session === leader;

test('a stranger above 5 % of a core is told, what is ours and the kernel’s is not', () => {
  const before = at([10, 1, 0], [11, 1, 500], [20, 1, 0], [30, 2, 0]);
  const now = at([10, 1, 400], [11, 1, 540], [20, 1, 900], [30, 2, 900]);
  const { total, above } = strangers(before, now, new Set([20]), 1000);
  assert.deepEqual(above, [{ pid: 10, share: 0.4 }]);
  assert.equal(total.toFixed(2), '0.44');
});

test('a process that took over a pid is counted from zero', () => {
  const { above } = strangers(at([10, 1, 9000, '1']), at([10, 1, 300, '2']), new Set(), 1000);
  assert.deepEqual(above, [{ pid: 10, share: 0.3 }]);
});

test('a complaint names the busiest moment of each program', () => {
  const look = (section: string, share: number): LoadLook => ({
    section,
    atS: 1,
    seconds: 1,
    loadAverage: 1,
    foreignShare: share,
    foreign: [{ pid: 1, command: 'tsc', share }],
  });
  assert.deepEqual(complaints([look('pods', 0.2), look('burst', 0.6)]), [
    'a foreign process used 60 % of a core during "burst": tsc',
  ]);
  assert.deepEqual(complaints([{ ...look('pods', 0), foreign: [] }]), []);
});

test('a look during which nothing was measured stays, and is no reason to complain', async () => {
  const watch = new LoadWatch(() => false);
  await sleep(600);
  const look = watch.look('idle', 0);
  assert.ok(look !== undefined);
  watch.dismiss(look);
  assert.deepEqual(watch.looks, [{ ...look, section: notMeasured }]);
});

test('what a program of ours has left behind stays ours: without its mark and adopted by another', async () => {
  // As containerd starts a shim: in its session, by a process that ends at once, and without its words when it dies.
  const orphan = `setTimeout(() => process.exit(), 5000); for (;;) {}`;
  const starter = `require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(orphan)}], { stdio: 'ignore' }).unref()`;
  const leader = spawn('sh', ['-c', '"$0" -e "$1"; sleep 60; true', process.execPath, starter], {
    stdio: 'ignore',
    detached: true,
  });
  try {
    await sleep(400);
    const [stranger, ours] = [
      new LoadWatch(() => false),
      new LoadWatch(ownedBy({ mark: '/no/such/folder', session: leader.pid! })),
    ];
    await sleep(1_200);
    const busy = ({ foreign }: LoadLook): number[] =>
      foreign.map(({ pid }) => pid).filter((pid) => isOf(leader.pid!, pid));
    const [look, calm] = [stranger.look('x', 0)!, ours.look('x', 0)!];
    assert.deepEqual([busy(look).length, busy(calm).length], [1, 0]);
  } finally {
    for (const { pid, session } of readProcesses().values()) if (session === leader.pid) process.kill(pid, 'SIGKILL');
  }
});

test('a process that was ours stays so when it has lost its command line', () => {
  const [mine, dying] = [at([20, 1, 100]), at([20, 1, 900])];
  const seen = new OursSoFar(({ pid }) => mine.has(pid) && isMarked);
  let isMarked = true;
  assert.deepEqual([...seen.of(mine)], [20]);
  isMarked = false;
  assert.deepEqual([...seen.of(dying)], [20]);
  assert.deepEqual([...seen.of(at([20, 1, 900, '2']))], [], 'but not a later one with its pid');
});

test('a busy program is seen on this machine, and is ours when it is said to be', async () => {
  const busy = spawn(process.execPath, ['-e', 'for (;;) {}'], { stdio: 'ignore' });
  try {
    const [watch, trusting] = [new LoadWatch(() => false), new LoadWatch(({ pid }) => pid === busy.pid)];
    await sleep(1_200);
    const mine = ({ foreign }: LoadLook): number => foreign.filter(({ pid }) => pid === busy.pid).length;
    const [look, calm] = [watch.look('x', 0)!, trusting.look('x', 0)!];
    assert.deepEqual([mine(look), mine(calm)], [1, 0]);
    assert.match(look.foreign.find(({ pid }) => pid === busy.pid)!.command, /node/);
  } finally {
    busy.kill('SIGKILL');
    await once(busy, 'exit');
  }
});
