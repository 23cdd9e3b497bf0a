/** husk-init's reaping, as PID 1 of a PID namespace on this machine. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { access, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { sleep, withDeadline } from '../../src/base/deadline.ts';

const program = join(import.meta.dirname, '../../build/bin/husk-init');
const waitMs = 60_000;
const orphans = 1000;
/** What the kernel's FIFO holds before it is full. */
const fifoBytes = 65_536;

let folder: string;
let exits: string;
let init: ChildProcess | undefined;
let onConsole: string;

beforeEach(async () => {
  await access(program);
  folder = await mkdtemp(join(tmpdir(), 'husk-init-'));
  exits = join(folder, 'exits');
  onConsole = '';
  init = undefined;
});

afterEach(async () => {
  if (init !== undefined && init.exitCode === null && init.signalCode === null) {
    init.kill('SIGKILL');
    await once(init, 'exit');
  }
  await rm(folder, { recursive: true });
});

/** Runs a program as the only child of husk-init; the end of unshare ends the namespace. */
function supervise(...command: readonly string[]): ChildProcess {
  const namespace = ['--user', '--map-root-user', '--pid', '--fork', '--kill-child'];
  const started = spawn('unshare', [...namespace, program, 'supervise', exits, ...command], {
    stdio: ['ignore', 'ignore', 'pipe'],
    cwd: folder,
  });
  started.stderr?.on('data', (chunk: Buffer) => {
    onConsole += chunk.toString();
  });
  init = started;
  return started;
}

/** Runs a shell script under husk-init. */
function script(text: string): ChildProcess {
  return supervise('/bin/sh', '-c', text);
}

/** A script that makes orphans; each writes its pid and its end into the file `told` and ends so. */
function makeOrphans(count: number): string {
  const orphan = 'echo $$ $0 >>told; if [ $0 -gt 255 ]; then kill -$((9 + 6 * ($0 % 2))) $$; fi; exit $0';
  // The process of the brackets ends at once, and what it leaves belongs to PID 1.
  return `n=0; while [ $n -lt ${count} ]; do (sh -c '${orphan}' $((n % 264)) &); n=$((n + 1)); done`;
}

async function told(count: number): Promise<Map<number, number>> {
  return withDeadline(`${count} orphans to end`, waitMs, undefined, async (signal) => {
    for (;;) {
      const text = await readFile(join(folder, 'told'), 'utf8').catch(() => '');
      const lines = text.split('\n').filter(Boolean);
      if (lines.length >= count) return new Map(lines.map((line) => line.split(' ').map(Number) as [number, number]));
      await sleep(20, signal);
    }
  });
}

/** Reads reports until there are enough, with a pause after each piece. */
async function reports(count: number, pauseMs: number): Promise<Map<number, number>> {
  const fifo = createReadStream(exits, { highWaterMark: pauseMs === 0 ? 65_536 : 512 });
  const found = new Map<number, number>();
  let rest = '';
  return withDeadline(`${count} reports`, waitMs, undefined, async (signal) => {
    for await (const chunk of fifo) {
      const lines = (rest + String(chunk).replaceAll('\0', '')).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        assert.match(line, /^\d+ \d+$/);
        const [pid, status] = line.split(' ').map(Number) as [number, number];
        assert.ok(!found.has(pid), `pid ${pid} was reported twice`);
        found.set(pid, status);
      }
      if (found.size >= count) return found;
      if (pauseMs > 0) await sleep(pauseMs, signal);
    }
    assert.fail(`husk-init ended after ${found.size} of ${count} reports: ${onConsole}`);
  });
}

/** What wait(2) says: even numbers above 255 stand for SIGKILL, odd ones for SIGTERM. */
function statusOf(end: number): number {
  return end <= 255 ? end << 8 : 9 + 6 * (end % 2);
}

function assertAllReported(seen: Map<number, number>, wanted: Map<number, number>): void {
  // Whether a signal also wrote a core file (0x80) is a matter of this machine's limits.
  const withoutCore = (status: number): number => (status > 255 ? status : status & 0x7f);
  const missing = [...wanted].filter(([pid, end]) => withoutCore(seen.get(pid) ?? -1) !== statusOf(end));
  assert.deepEqual(missing, []);
  assert.equal(seen.size, wanted.size);
}

test('it refuses to run as anything but PID 1', () => {
  assert.equal(spawnSync(program, ['system']).status, 2);
});

for (const { reader, pauseMs } of [
  { reader: 'a reader that keeps up', pauseMs: 0 },
  { reader: 'a slow reader', pauseMs: 20 },
]) {
  test(`the statuses of ${orphans} orphans reach ${reader}`, async (t) => {
    const started = performance.now();
    script(`${makeOrphans(orphans)}; exec sleep 1000`);
    await fifoIsThere();
    const seen = await reports(orphans, pauseMs);
    assertAllReported(seen, await told(orphans));
    t.diagnostic(`${orphans} orphans in ${Math.round(performance.now() - started)} ms`);
  });
}

test('while the FIFO is full no orphan is reaped, and then all are reported', async () => {
  const fill = `dd if=/dev/zero of=${exits} bs=${fifoBytes} count=1 oflag=nonblock conv=notrunc 2>/dev/null`;
  script(`${fill}; ${makeOrphans(200)}; touch made; exec sleep 1000`);
  const wanted = await told(200);
  await withDeadline('the script to end', waitMs, undefined, async (signal) => {
    while (!(await exists(join(folder, 'made')))) await sleep(20, signal);
  });
  assertAllReported(await reports(200, 0), wanted);
});

test('the end of the program is told on the console and ends PID 1', async () => {
  const [code] = await once(script('exit 3'), 'close');
  assert.equal(code, 1);
  assert.match(onConsole, /^husk-init: program \(pid \d+\) ended with exit code 3: powering off\n$/);
});

test('a program that cannot be started is told on the console', async () => {
  await once(supervise('/nothing'), 'close');
  assert.match(onConsole, /husk-init: execute \/nothing: No such file or directory\n.*exit code 127/);
});

async function fifoIsThere(): Promise<void> {
  await withDeadline('the FIFO', waitMs, undefined, async (signal) => {
    while (!(await exists(exits))) await sleep(5, signal);
  });
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
