/** `husk run` as scripts and people use it: streams, exit codes, signals, terminals, and nothing left. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, readlink, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sleep } from '../../src/base/deadline.ts';
import { type RunBench, startRunBench } from '../helpers/direct-run.ts';
import { assertHoldings, holdingsOf } from '../helpers/holdings.ts';

let bench: RunBench;
/** What stands when no run lives: the shared folders. */
let idle: string[];

before(async () => {
  bench = await startRunBench();
  assert.equal((await bench.run(['--native'], ['true'])).code, 0);
  idle = await holdingsOf(bench);
});
after(async () => bench?.close());

const native = ['--native'];
const runtimes = [
  ['natively', native],
  ['in a virtual machine', []],
] as const;
/** Says when it runs, and what signals come. */
const listening = 'trap "echo term; exit 9" TERM; trap "echo int" INT; echo ready; while :; do sleep 0.05; done';

/** Starts one whose container prints `ready`, and waits for that. */
async function ready(options: readonly string[]): Promise<{ child: ChildProcess; printed: () => string }> {
  const child = bench.start(options, ['sh', '-c', listening], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout?.on('data', (bytes: Buffer) => {
    text += bytes.toString();
  });
  while (!text.includes('ready')) await once(child.stdout as NodeJS.ReadableStream, 'data');
  return { child, printed: () => text };
}

async function exitCode(child: ChildProcess): Promise<number> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  assert.equal(child.signalCode, null);
  return Number(child.exitCode);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

/** Its server may need a moment yet. */
async function page(url: string): Promise<string> {
  for (let tries = 0; ; tries += 1) {
    try {
      return await (await fetch(url, { signal: AbortSignal.timeout(5_000) })).text();
    } catch (caught) {
      if (tries > 50) throw caught;
      await sleep(100);
    }
  }
}

for (const [where, options] of runtimes) {
  test(`${where}: the exit code and both outputs come through, apart from one another`, async () => {
    const told = await bench.run(options, ['sh', '-c', 'echo out; echo err >&2; exit 7']);
    assert.deepEqual([told.code, told.stdout.toString(), told.stderr], [7, 'out\n', 'err\n']);
    await assertHoldings(bench, idle);
  });

  test(`${where}: standard input reaches the container, and its end too`, async () => {
    const input = randomBytes(1024 * 1024);
    const { code, stdout, stderr } = await bench.run(['-i', ...options], ['sha256sum'], input);
    assert.deepEqual([code, stderr], [0, '']);
    assert.equal(stdout.toString().split(' ')[0], createHash('sha256').update(input).digest('hex'));
  });

  test(`${where}: signals are the container's; the second interrupt kills it`, async () => {
    const [stopped, interrupted] = [await ready(options), await ready(options)];
    stopped.child.kill('SIGTERM');
    assert.equal(await exitCode(stopped.child), 9);
    assert.match(stopped.printed(), /^ready\nterm\n$/);
    interrupted.child.kill('SIGINT');
    while (!interrupted.printed().includes('int'))
      await once(interrupted.child.stdout as NodeJS.ReadableStream, 'data');
    interrupted.child.kill('SIGINT');
    assert.equal(await exitCode(interrupted.child), 137);
    await assertHoldings(bench, idle);
  });

  test(`${where}: folders, variables and a published port reach the container`, async () => {
    const data = await mkdtemp(join(tmpdir(), 'husk-run-data-'));
    await writeFile(join(data, 'given'), 'of the host\n');
    const port = await freePort();
    const command =
      'cat /ro/given; echo $MODE; touch /ro/x 2>/dev/null || touch /rw/made; echo ready; httpd -f -p 80 -h /rw';
    const given = ['-v', `${data}:/ro:ro`, '-v', `${data}:/rw`, '-e', 'MODE=some mode', '-p', `${port}:80`];
    try {
      const child = bench.start([...given, ...options], ['sh', '-c', command], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let text = '';
      child.stdout?.on('data', (bytes: Buffer) => (text += bytes.toString()));
      while (!text.includes('ready')) await once(child.stdout as NodeJS.ReadableStream, 'data');
      assert.equal(text, 'of the host\nsome mode\nready\n');
      assert.deepEqual((await readdir(data)).sort(), ['given', 'made']);
      assert.equal(await page(`http://127.0.0.1:${port}/given`), 'of the host\n');
      child.kill('SIGINT');
      // Two at once could be one.
      await sleep(500);
      child.kill('SIGINT');
      await exitCode(child);
      await assertHoldings(bench, idle);
    } finally {
      await rm(data, { recursive: true });
    }
  });

  test(`${where}: a terminal has its size, and its interrupt key ends what runs`, async () => {
    const command = 'tty >/dev/null && stty size; trap "exit 5" INT; echo ready; while :; do sleep 0.05; done';
    const words = bench.words(['-t', ...options], ['sh', '-c', `'${command}'`]).join(' ');
    const child = spawn('script', ['-qec', `stty rows 33 cols 77; ${words}`, '/dev/null'], { stdio: 'pipe' });
    let text = '';
    child.stdout.on('data', (bytes: Buffer) => {
      const before = text.includes('ready');
      text += bytes.toString();
      if (!before && text.includes('ready')) child.stdin.write('\x03');
    });
    assert.equal(await exitCode(child), 5, text);
    assert.match(text, /33 77\r\nready/);
  });

  test(`${where}: a run that is killed is swept by the next one`, async () => {
    const { child } = await ready(options);
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    assert.notDeepEqual(await holdingsOf(bench), idle);
    assert.equal((await bench.run(native, ['true'])).code, 0);
    await assertHoldings(bench, idle, 10_000);
  });
}

const long = process.env['HUSK_LONG_TESTS'] === '1';
const skip = long ? false : 'takes 15 s: HUSK_LONG_TESTS=1';

test('in a virtual machine: a slow reader loses nothing', { skip }, async () => {
  const slow = bench.start([], ['head', '-c', '2000000', '/dev/zero'], { stdio: ['ignore', 'pipe', 'inherit'] });
  slow.stdout?.pause();
  const exit = once(slow, 'exit');
  // Longer than clients of CRI are waited for.
  await sleep(11_000);
  const chunks = await slow.stdout?.toArray();
  assert.deepEqual([Buffer.concat(chunks ?? []).length, (await exit)[0]], [2_000_000, 0]);
});

test('in a virtual machine: a reader that goes ends the container', async () => {
  const gone = bench.start([], ['sh', '-c', 'while :; do echo y; done'], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(gone.stdout as NodeJS.ReadableStream, 'data');
  gone.stdout?.destroy();
  assert.equal(await exitCode(gone), 141);
});

test('husk’s own errors have exit codes of their own, and name what is wrong', async () => {
  const wrong = async (options: readonly string[], command: readonly string[]) => {
    const { code, stderr } = await bench.run([...native, ...options], command);
    return [code, stderr] as const;
  };
  assert.equal((await wrong([], ['nope']))[0], 127);
  assert.equal((await wrong([], ['/etc']))[0], 126);
  const [code, stderr] = await wrong(['--memory', 'lots'], ['true']);
  assert.equal(code, 125);
  assert.match(stderr, /^husk: .*--memory "lots": wanted/);
  assert.match(
    (await wrong(['--cni-net-dir', '/nowhere'], ['true']))[1],
    /CNI configuration in "\/nowhere": found none/,
  );
  assert.match((await wrong(['-t'], ['true']))[1], /--tty: standard input and output are not a terminal/);
  await assertHoldings(bench, idle);
});

test('without a network there is loopback alone; a machine’s own network is for native runs', async () => {
  const none = await bench.run([...native, '--network', 'none', '--cni-net-dir', '/nowhere'], ['ip', 'link']);
  assert.deepEqual([none.code, none.stdout.toString().match(/^\d+: \S+:/gm)], [0, ['1: lo:']]);
  const host = await bench.run([...native, '--network', 'host'], ['readlink', '/proc/self/ns/net']);
  assert.equal(host.stdout.toString().trim(), await readlink('/proc/self/ns/net'));
  await assertHoldings(bench, idle);
});

test('a container that eats more memory than it may is said to have been killed for it', async () => {
  const { code, stderr } = await bench.run([...native, '--memory', '16m'], ['tail', '/dev/zero']);
  assert.deepEqual([code, stderr], [137, 'husk: the container was killed: it used more memory than its limit\n']);
});

test('an interrupt before the container runs ends the run', async () => {
  const child = bench.start(native, ['sleep', '1000'], { stdio: 'inherit' });
  while (!(await holdingsOf(bench)).some((line) => line.includes('/runs/'))) await sleep(20);
  child.kill('SIGINT');
  assert.equal(await exitCode(child), 130);
  await assertHoldings(bench, idle);
});

const many = long ? 50 : 3;

test(`${many} runs, three at a time, leave nothing`, async () => {
  const worker = async (first: number): Promise<void> => {
    for (let nr = first; nr < many; nr += 3) {
      const { code, stdout } = await bench.run(native, ['sh', '-c', `echo ${nr}; exit ${nr % 100}`]);
      assert.deepEqual([code, stdout.toString()], [nr % 100, `${nr}\n`]);
    }
  };
  await Promise.all([worker(0), worker(1), worker(2)]);
  await assertHoldings(bench, idle);
});
