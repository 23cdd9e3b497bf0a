/** crictl of cri-tools, which links client-go's SPDY and WebSocket, against containers of either runtime. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { test } from 'node:test';
import { sleep, withDeadline } from '../../src/base/deadline.ts';
import { run } from '../../src/base/exec.ts';
import type { Daemon } from '../helpers/daemon.ts';
import { shell, startContainer } from '../helpers/pods.ts';
import { crictl, crictlCommand, findCrictl, runCrictl } from '../helpers/streams.ts';
import type { StreamingRig } from './streaming.contract.ts';

const waitMs = 40_000;
const mib = 1024 * 1024;
const transports = ['spdy', 'websocket'] as const;
const skip = findCrictl() === undefined ? 'crictl is not built: make crictl' : false;

export interface CrictlRig extends Pick<StreamingRig, 'image' | 'pod'> {
  readonly daemon: Daemon;
  /** With the programs and servers of `streamingContract`. */
  readonly container: string;
}

/** Registers the tests; `rig` is asked when they run. */
export function crictlContract(rig: () => CrictlRig): void {
  for (const transport of transports) {
    commandTests(rig, transport);
    attachTest(rig, transport);
    portTests(rig, transport);
  }
}

const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

function commandTests(rig: () => CrictlRig, transport: string): void {
  test(`crictl exec -r ${transport}: both outputs, the exit code, 64 MiB of input and of output`, {
    skip,
  }, async (context) => {
    const { daemon, container } = rig();
    const exec = (args: string[], input?: Buffer) =>
      runCrictl(daemon.socket, ['exec', '-r', transport, ...args], input);
    const failed = await exec([container, 'sh', '-c', 'echo out; echo err >&2; exit 5']);
    assert.equal(failed.stdout.toString(), 'out\n');
    assert.match(failed.stderr, /^err$/m);
    assert.doesNotMatch(failed.stderr, /Unknown stream/);
    assert.match(failed.stderr, /command terminated with exit code 5/);
    assert.equal(failed.code, 1);
    const sent = randomBytes(64 * mib);
    const start = performance.now();
    const summed = await exec(['-i', container, 'sha256sum'], sent);
    assert.equal(summed.stdout.toString(), `${sha(sent)}  -\n`);
    const echoed = await exec(['-i', container, 'cat'], sent);
    assert.equal(sha(echoed.stdout), sha(sent));
    context.diagnostic(`3 x 64 MiB: ${((192 * mib) / 1e3 / (performance.now() - start)).toFixed(1)} MB/s`);
  });

  test(`crictl exec -it -r ${transport}: a terminal with the size of crictl’s, its echo, its interrupt`, {
    skip,
  }, async () => {
    const { daemon, container } = rig();
    const line =
      'while [ "$(stty size)" != "31 101" ]; do sleep 0.1; done; tty; read line; echo "got $line"; echo $$; sleep 100';
    const command = crictlCommand(daemon.socket, ['exec', '-it', '-r', transport, container, 'sh', '-c', line]);
    const screen = new Screen(command);
    await screen.shows(/^\/dev\/pts\/\d+\r$/m);
    screen.type('hello\n');
    await screen.shows(/^hello\r\ngot hello\r\n\d+\r\n/m);
    screen.type('\u0003');
    assert.equal(await screen.ended(), 1);
    assert.match(screen.text, /command terminated with exit code 130/);
  });
}

function attachTest(rig: () => CrictlRig, transport: string): void {
  test(`crictl attach -i -r ${transport}: input goes in, output comes, and it ends with the container`, {
    skip,
  }, async () => {
    const { daemon, image, pod } = rig();
    const line = 'while read line; do echo "got $line"; [ "$line" = end ] && exit 3; done';
    const id = await startContainer(daemon, pod, shell(image, line, { stdin: true }));
    const child = crictl(daemon.socket, ['attach', '-i', '-r', transport, id]);
    let text = '';
    child.stdout?.on('data', (bytes: Buffer) => (text += bytes.toString()));
    const exit = once(child, 'exit');
    // A client is joined a moment after its streams stand: until then it misses what is written.
    await withDeadline('crictl to be joined', waitMs, undefined, async (signal) => {
      while (!text.includes('got one\n')) {
        child.stdin?.write('one\n');
        await sleep(200, signal);
      }
    });
    child.stdin?.write('end\n');
    const [code] = await withDeadline('crictl to end', waitMs, undefined, () => exit);
    assert.equal(code, 0);
    assert.match(text, /^(got one\n)+got end\n$/);
  });
}

function portTests(rig: () => CrictlRig, transport: string): void {
  test(`crictl port-forward -r ${transport}: 50 pages at a time`, { skip }, async () => {
    const { daemon, pod } = rig();
    await using forward = await forwarded(daemon.socket, pod.id, '80', transport);
    const pages = Array.from({ length: 50 }, () =>
      fetch(`http://127.0.0.1:${forward.port}/`).then((answer) => answer.text()),
    );
    assert.deepEqual(new Set(await Promise.all(pages)), new Set(['hello\n']));
  });

  test(`crictl port-forward -r ${transport}: a database and 50 of its clients`, { skip }, async (context) => {
    const { daemon, pod } = rig();
    await using forward = await forwarded(daemon.socket, pod.id, '6379', transport);
    const load = ['-t', 'set,get', '-n', '2000', '-c', '50', '-d', '10000', '-P', '4', '--csv'];
    const report = await run('redis-benchmark', ['-p', forward.port, ...load], { timeoutMs: 120_000 });
    for (const line of report.trim().split('\n').slice(1)) context.diagnostic(line);
    assert.match(report, /^"SET","\d[\s\S]*^"GET","\d/m);
    const asked = ['-p', forward.port, 'strlen', 'key:__rand_int__'];
    assert.equal((await run('redis-cli', asked, { timeoutMs: waitMs })).trim(), '10000');
  });
}

/** crictl that forwards a free port to one of the pod, until it is disposed of. */
async function forwarded(socket: string, podId: string, port: string, transport: string) {
  const child = crictl(socket, ['port-forward', '-r', transport, podId, `0:${port}`]);
  const [said] = (await once(child.stdout as Readable, 'data')) as [Buffer];
  return {
    port: /127\.0\.0\.1:(\d+)/.exec(said.toString())?.[1] ?? '',
    async [Symbol.asyncDispose]() {
      const gone = once(child, 'exit');
      child.kill();
      await gone;
    },
  };
}

/** A program on a terminal of 101 columns and 31 rows; script(1) makes it. */
class Screen {
  text = '';
  readonly #child: ChildProcess;
  readonly #exit: Promise<unknown[]>;

  constructor(command: readonly string[]) {
    const quoted = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
    this.#child = spawn('script', ['-qec', `stty cols 101 rows 31; exec ${quoted}`, '/dev/null']);
    this.#exit = once(this.#child, 'exit');
    this.#child.stdout?.on('data', (bytes: Buffer) => (this.text += bytes.toString()));
  }

  type(keys: string): void {
    this.#child.stdin?.write(keys);
  }

  async shows(what: RegExp): Promise<void> {
    await withDeadline(`${what} on the screen`, waitMs, undefined, async (signal) => {
      while (!what.test(this.text)) await sleep(50, signal);
    }).catch((cause: unknown) => {
      this.#child.kill();
      throw new Error(`the screen shows ${JSON.stringify(this.text)}`, { cause });
    });
  }

  /** The exit code. */
  async ended(): Promise<unknown> {
    return (await withDeadline('the program on the terminal', waitMs, undefined, () => this.#exit))[0];
  }
}
