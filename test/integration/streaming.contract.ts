/** exec, attach and port-forward over CRI's URLs: the same of both runtimes, against real containers. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { PassThrough, Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { sleep, withDeadline } from '../../src/base/deadline.ts';
import type { PodSandboxConfig } from '../../src/gen/cri/v1/api.ts';
import { AttachRequest, ContainerState, ExecRequest } from '../../src/gen/cri/v1/api.ts';
import { programsWithLibraries } from '../conformance/stand-ins.ts';
import { echoServer } from '../fixtures/echo-server.ts';
import type { Entry } from '../fixtures/oci-image.ts';
import type { Daemon } from '../helpers/daemon.ts';
import { clientAttach, clientExec } from '../helpers/kubernetes-client.ts';
import { logContent, shell, startContainer } from '../helpers/pods.ts';
import { connectSpdy, joinCommand, type RemoteCommand } from '../helpers/streams.ts';
import { crictlContract } from './streaming-crictl.contract.ts';

const waitMs = 40_000;
const mib = 1024 * 1024;

/** A daemon with a pod, and an image that has the file of `extraFiles`. */
export interface StreamingRig {
  readonly daemon: Daemon;
  readonly image: string;
  readonly pod: { readonly id: string; readonly config: PodSandboxConfig };
  close(): Promise<void>;
}

/** What the image must have beside busybox. */
export async function extraFiles(): Promise<Entry[]> {
  // Debian's program for checking dumps is the server, called by another name.
  const redis = programsWithLibraries(['/usr/bin/redis-check-rdb'], 'usr/bin/');
  return [await echoServer(), ...redis];
}

function* cut(bytes: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** Registers the tests; `start` makes what they run against. */
export function streamingContract(start: () => Promise<StreamingRig>): void {
  let rig: StreamingRig;
  let daemon: Daemon;
  let image: string;
  let pod: StreamingRig['pod'];
  let container: string;

  before(async () => {
    rig = await start();
    ({ daemon, image, pod } = rig);
    const line =
      'echo-server & ln /usr/bin/redis-check-rdb /usr/bin/redis-server; redis-server --save "" --bind 127.0.0.1 >/dev/null & mkdir /tmp/w; echo hello >/tmp/w/index.html; exec httpd -f -p 127.0.0.1:80 -h /tmp/w';
    container = await startContainer(daemon, pod, shell(image, line));
    await serversListen();
  });
  after(async () => rig?.close());

  /** The ports of the echo server, of httpd and of redis, as /proc/net/tcp shows them: a program's start takes its time. */
  async function serversListen(): Promise<void> {
    const ports = ['005A', '0050', '18EB'];
    const look = ports.map((port) => `grep -q ":${port} .* 0A " /proc/net/tcp /proc/net/tcp6`).join(' && ');
    const cmd = ['sh', '-c', `until ${look}; do sleep 0.1; done`];
    const { exitCode, stderr } = await daemon.cri.execSync({ containerId: container, cmd, timeout: 60n });
    assert.equal(exitCode, 0, stderr.toString());
  }

  type Wanted = Partial<Pick<ExecRequest, 'tty' | 'stdin' | 'stdout' | 'stderr'>>;

  async function exec(cmd: string[], wanted: Wanted = { stdout: true, stderr: true }): Promise<RemoteCommand> {
    const { url } = await daemon.cri.exec(ExecRequest.fromPartial({ containerId: container, cmd, ...wanted }));
    assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/exec\/[\w-]{32}$/);
    return await joinCommand(url, wanted);
  }

  async function attach(containerId: string, wanted: Wanted): Promise<RemoteCommand> {
    const { url } = await daemon.cri.attach(AttachRequest.fromPartial({ containerId, ...wanted }));
    return await joinCommand(url, wanted);
  }

  const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

  async function until(what: string, enough: () => boolean | Promise<boolean>): Promise<void> {
    await withDeadline(what, waitMs, undefined, async (signal) => {
      while (!(await enough())) await sleep(50, signal);
    });
  }

  test('exec: both outputs and the exit code', async () => {
    const command = await exec(['sh', '-c', 'echo out; echo err >&2; exit 7']);
    const status = await command.status();
    assert.deepEqual([status.status, status.exitCode], ['Failure', 7]);
    assert.equal(command.stdout?.text(), 'out\n');
    assert.equal(command.stderr?.text(), 'err\n');
  });

  test('exec: a process starts as one of ExecSync does: its umask, signals and descriptors', async () => {
    const cmd = ['sh', '-c', 'umask; grep ^Sig[BI] /proc/self/status; ls /proc/self/fd | wc -l'];
    const { stdout } = await daemon.cri.execSync({ containerId: container, cmd, timeout: 60n });
    for (const wanted of [{ stdout: true, stderr: true }, { stdout: true }, { stdin: true, stdout: true, tty: true }]) {
      const command = await exec(cmd, wanted);
      await command.status();
      assert.equal(command.stdout?.text().replaceAll('\r', ''), stdout.toString());
    }
  });

  test('exec: 16 MiB through the container’s cat come back whole, and the end of input is seen', async (context) => {
    const command = await exec(['cat'], { stdin: true, stdout: true });
    const sent = randomBytes(16 * mib);
    const start = performance.now();
    for (let at = 0; at < sent.length; at += 65_536) await command.stdin?.write(sent.subarray(at, at + 65_536));
    command.stdin?.end();
    assert.equal((await command.status()).status, 'Success');
    context.diagnostic(`both ways: ${((2 * sent.length) / 1e3 / (performance.now() - start)).toFixed(1)} MB/s`);
    assert.equal(command.stdout?.sha(), sha(sent));
  });

  test('exec: output is complete before the status', async (context) => {
    const start = performance.now();
    const command = await exec(['dd', 'if=/dev/zero', 'bs=65536', 'count=1024'], { stdout: true });
    assert.equal((await command.status()).status, 'Success');
    context.diagnostic(`${((64 * mib) / 1e3 / (performance.now() - start)).toFixed(1)} MB/s`);
    assert.equal(command.stdout?.bytes, 64 * mib);
    assert.equal(command.stdout?.sha(), sha(Buffer.alloc(64 * mib)));
  });

  test('exec on a terminal: it is one, of the size of the client’s, and its echo and signals work', async () => {
    const command = await exec(
      ['sh', '-c', 'tty; stty size; echo ready; read line; echo "got $line"; stty size; sleep 100'],
      {
        tty: true,
        stdin: true,
        stdout: true,
      },
    );
    await command.resize?.write('{"Width":132,"Height":43}');
    await until('the shell', () => command.stdout?.text().includes('ready') === true);
    await command.resize?.write('{"Width":80,"Height":24}{"Width":100,"Height":30}');
    await sleep(500);
    await command.stdin?.write('hello\n');
    await until('the answer', () => command.stdout?.text().includes('30 100') === true);
    await command.stdin?.write('\u0003');
    const { exitCode } = await withDeadline('the interrupt', waitMs, undefined, () => command.status());
    assert.equal(exitCode, 130);
    assert.match(command.stdout?.text() ?? '', /^\/dev\/pts\/\d+\r\n[\s\S]*ready\r\nhello\r\ngot hello\r\n30 100\r\n/);
  });

  test('exec: a program that is not there is an error, an unknown container NotFound', async () => {
    const command = await exec(['/no/such/program']);
    const { status, message } = await command.status();
    assert.equal(status, 'Failure');
    assert.match(message ?? '', /no such file|not found|exit/i);
    await assert.rejects(
      daemon.cri.exec(ExecRequest.fromPartial({ containerId: 'f'.repeat(64), cmd: ['x'], stdout: true })),
      {
        code: 5,
      },
    );
  });

  test('a process outlives its client', async () => {
    const command = await exec(['sh', '-c', 'echo started; sleep 2; echo on; echo done >/tmp/outlived'], {
      stdout: true,
    });
    await until('the start', () => command.stdout?.text().includes('started') === true);
    command.client.socket.destroy();
    await until('the end of the process', async () => {
      const { stdout } = await daemon.cri.execSync({
        containerId: container,
        cmd: ['sh', '-c', 'cat /tmp/outlived || true'],
        timeout: 60n,
      });
      return stdout.toString() === 'done\n';
    });
  });

  test('exec: a client that closes one of its outputs holds up neither the command nor the other output', async () => {
    const line = 'echo out; dd if=/dev/zero bs=65536 count=64 2>/dev/null; echo err >&2; exit 3';
    const command = await exec(['sh', '-c', line]);
    await command.stdout?.begun;
    command.stdout?.reset();
    const { exitCode } = await withDeadline('the exit code', waitMs, undefined, () => command.status());
    assert.equal(exitCode, 3);
    assert.equal(command.stderr?.text(), 'err\n');
  });

  test('attach: several clients see what comes from now on, input goes in, and the log has it all once', async () => {
    const line = 'echo early; while read line; do echo "got $line"; done; echo end';
    const id = await startContainer(daemon, pod, shell(image, line, { stdin: true }));
    const { status: started } = await daemon.cri.containerStatus({ containerId: id, verbose: false });
    const readLog = async (): Promise<string> => readFile(started?.logPath ?? '', 'utf8').catch(() => '');
    await until('the first line', async () => (await readLog()).includes('early'));
    const [first, second] = [
      await attach(id, { stdin: true, stdout: true, stderr: true }),
      await attach(id, { stdout: true }),
    ];
    // A client is joined a moment after its streams stand: until then it misses what is written.
    let ones = 0;
    await until('both to be joined', async () => {
      await first.stdin?.write('one\n');
      ones += 1;
      await sleep(200);
      return [first, second].every((each) => each.stdout?.text().startsWith('got one\n'));
    });
    first.client.socket.destroy();
    const third = await attach(id, { stdin: true, stdout: true });
    let twos = 0;
    await until('the third to be joined', async () => {
      await third.stdin?.write('two\n');
      twos += 1;
      await sleep(200);
      return third.stdout?.text().startsWith('got two\n') === true;
    });
    third.stdin?.end();
    await sleep(300);
    const { status } = await daemon.cri.containerStatus({ containerId: id, verbose: false });
    assert.equal(status?.state, ContainerState.CONTAINER_RUNNING);
    await daemon.cri.stopContainer({ containerId: id, timeout: 1n });
    await second.status();
    const log = await readLog();
    assert.equal(logContent(log, 'stdout'), `early\n${'got one\n'.repeat(ones)}${'got two\n'.repeat(twos)}`);
    assert.doesNotMatch(second.stdout?.text() ?? '', /early/);
    assert.ok(second.stdout?.text().endsWith('got two\n'.repeat(twos)));
  });

  test('attach with stdin_once: the end of the first client’s input is the container’s', async () => {
    const id = await startContainer(daemon, pod, shell(image, 'sha256sum; exit 3', { stdin: true, stdinOnce: true }));
    const command = await attach(id, { stdin: true, stdout: true });
    const sent = randomBytes(4 * mib);
    await command.stdin?.write(sent);
    command.stdin?.end();
    await command.status();
    assert.equal(command.stdout?.text(), `${sha(sent)}  -\n`);
    await until('the exit', async () => {
      const { status } = await daemon.cri.containerStatus({ containerId: id, verbose: false });
      return status?.state === ContainerState.CONTAINER_EXITED && status.exitCode === 3;
    });
  });

  test('a container on a terminal: its log, attach with a size, its end', async () => {
    const line = 'tty; while read line; do echo "got $line"; stty size; done';
    const id = await startContainer(daemon, pod, shell(image, line, { tty: true, stdin: true }));
    const command = await attach(id, { tty: true, stdin: true, stdout: true });
    await command.resize?.write('{"Width":90,"Height":20}');
    await sleep(300);
    await command.stdin?.write('hello\n');
    await until('the answer', () => command.stdout?.text().includes('20 90\r\n') === true);
    assert.match(command.stdout?.text() ?? '', /hello\r\ngot hello\r\n20 90\r\n/);
    const { status } = await daemon.cri.containerStatus({ containerId: id, verbose: false });
    await until('the log', async () => logContent(await readFile(status?.logPath ?? '', 'utf8')).includes('20 90\r\n'));
    assert.match(
      logContent(await readFile(status?.logPath ?? '', 'utf8'), 'stdout'),
      /^\/dev\/pts\/\d+\r\nhello\r\ngot hello\r\n20 90\r\n$/,
    );
    await command.stdin?.write('\u0004');
    await command.status();
  });

  async function portForward(): Promise<string> {
    return (await daemon.cri.portForward({ podSandboxId: pod.id, port: [] })).url;
  }

  test('port-forward: bytes both ways with half-closes, many at a time, and the error of a closed port', async () => {
    const client = await connectSpdy(await portForward(), 'portforward.k8s.io');
    const sent = randomBytes(mib);
    await Promise.all(
      Array.from({ length: 20 }, async (_, requestid) => {
        const headers = (streamtype: string) => ({ streamtype, port: '90', requestid: String(requestid) });
        const error = await client.open(headers('error'), true);
        const data = await client.open(headers('data'));
        await data.write(sent);
        data.end();
        assert.equal(await data.ended, 'fin');
        assert.equal(data.sha(), sha(sent));
        assert.equal(await error.ended, 'fin');
      }),
    );
    const error = await client.open({ streamtype: 'error', port: '81', requestid: 'x' }, true);
    await client.open({ streamtype: 'data', port: '81', requestid: 'x' });
    await error.ended;
    assert.match(
      error.text(),
      new RegExp(`^error forwarding port 81 to pod ${pod.id}, uid : failed to connect to localhost:81 .*refused`),
    );
    client.socket.destroy();
  });

  test('the gateway is killed: streams end, the process goes on, new streams work', async () => {
    const command = await exec(['sh', '-c', 'echo $$; sleep 3; echo done >/tmp/after-kill'], { stdout: true });
    await until('the start', () => (command.stdout?.bytes ?? 0) > 0);
    const { pid } = JSON.parse(await readFile(`${daemon.folder}/run/gateway/pid.json`, 'utf8')) as { pid: number };
    process.kill(pid, 'SIGKILL');
    await command.client.closed;
    await until('a new gateway', async () => {
      const again = await exec(['cat', '/tmp/after-kill'], { stdout: true, stderr: true }).catch(() => undefined);
      await again?.status();
      return again?.stdout?.text() === 'done\n';
    });
  });

  crictlContract(() => ({ daemon, image, pod, container }));

  const execUrl = async (cmd: string[], wanted: Wanted): Promise<string> =>
    (await daemon.cri.exec(ExecRequest.fromPartial({ containerId: container, cmd, ...wanted }))).url;

  test('@kubernetes/client-node: outputs and status, input, a terminal with its size, attach', async () => {
    const line = ['sh', '-c', 'echo out; echo err >&2; exit 7'];
    const failed = await clientExec(await execUrl(line, { stdout: true, stderr: true }), { stderr: true });
    assert.deepEqual([failed.stdout.toString(), failed.stderr.toString()], ['out\n', 'err\n']);
    assert.equal(failed.status.reason, 'NonZeroExitCode');
    assert.equal(failed.status.details?.causes?.[0]?.message, '7');
    const sent = randomBytes(4 * mib);
    const stdin = (): Readable => Readable.from(cut(sent, 65_536), { objectMode: false });
    const summed = await clientExec(await execUrl(['sha256sum'], { stdin: true, stdout: true }), { stdin: stdin() });
    assert.equal(summed.stdout.toString(), `${sha(sent)}  -\n`);
    const echoed = await clientExec(await execUrl(['cat'], { stdin: true, stdout: true }), { stdin: stdin() });
    assert.equal(sha(echoed.stdout), sha(sent));
    const size = ['sh', '-c', 'while [ "$(stty size 2>/dev/null)" != "27 91" ]; do sleep 0.1; done; tty'];
    const terminal = await clientExec(await execUrl(size, { tty: true, stdin: true, stdout: true }), {
      tty: true,
      stdin: new PassThrough(),
    });
    assert.match(terminal.stdout.toString(), /^\/dev\/pts\/\d+\r\n$/);
    assert.equal(terminal.status.status, 'Success');
    const answering = 'while read line; do echo "got $line"; done';
    const id = await startContainer(daemon, pod, shell(image, answering, { stdin: true }));
    const { url } = await daemon.cri.attach(AttachRequest.fromPartial({ containerId: id, stdin: true, stdout: true }));
    const input = new PassThrough();
    const attached = await clientAttach(url, input);
    input.write('hello\n');
    const [answer] = (await once(attached.stdout, 'data')) as [Buffer];
    assert.equal(answer.toString(), 'got hello\n');
    attached.close();
    await daemon.cri.stopContainer({ containerId: id, timeout: 0n });
  });

  /** What the gateway holds open, and what serves it. */
  async function handles(): Promise<number> {
    const { pid } = JSON.parse(await readFile(`${daemon.folder}/run/gateway/pid.json`, 'utf8')) as { pid: number };
    const streams = await readdir(`${daemon.folder}/run/streams`).catch(() => []);
    return (await readdir(`/proc/${pid}/fd`)).length + streams.length;
  }

  /** HUSK_STREAM_EXECS, HUSK_STREAM_ROUNDS: the numbers are 200 and 500. */
  const [execs, rounds] = [process.env['HUSK_STREAM_EXECS'] ?? '20', process.env['HUSK_STREAM_ROUNDS'] ?? '4'].map(
    Number,
  );

  test(`${execs} commands at a time: each gets its own output and code`, async (context) => {
    const start = performance.now();
    await Promise.all(
      Array.from({ length: execs as number }, async (_, index) => {
        const command = await exec(['sh', '-c', `echo ${index}; read line; echo $line; exit ${index % 100}`], {
          stdin: true,
          stdout: true,
        });
        await command.stdin?.write(`line ${index}\n`);
        const { exitCode } = await command.status();
        assert.deepEqual([command.stdout?.text(), exitCode], [`${index}\nline ${index}\n`, index % 100]);
      }),
    );
    context.diagnostic(`${(performance.now() - start).toFixed(0)} ms`);
  });

  test(`${rounds} rounds of opening and closing 20 streams leave no handle`, async () => {
    const round = async (): Promise<void> => {
      const client = await connectSpdy(await portForward(), 'portforward.k8s.io');
      const streams = await Promise.all(
        Array.from({ length: 10 }, async (_, requestid) => {
          const headers = (streamtype: string) => ({ streamtype, port: '90', requestid: String(requestid) });
          await client.open(headers('error'), true);
          return await client.open(headers('data'));
        }),
      );
      for (const [index, stream] of streams.entries()) {
        await stream.write('x');
        // Half of them are broken off.
        if (index % 2 === 0) stream.end();
      }
      for (const stream of streams.filter((_, index) => index % 2 === 0)) assert.equal(await stream.ended, 'fin');
      client.socket.destroy();
      await client.closed;
    };
    await round();
    let before = await handles();
    await until('the first round to be over', async () => before === (before = await handles()));
    for (let done = 0; done < (rounds as number); done += 1) await round();
    await until('handles back to baseline', async () => (await handles()) <= before);
  });

  test('what is refused before a process starts: no token, a used one, a bad request', async () => {
    const { url } = await daemon.cri.exec(
      ExecRequest.fromPartial({ containerId: container, cmd: ['true'], stdout: true }),
    );
    await (await joinCommand(url, { stdout: true })).status();
    await assert.rejects(connectSpdy(url), /answered 404/);
    for (const request of [
      { containerId: container, cmd: ['true'] },
      { containerId: container, cmd: [], stdout: true },
      { containerId: container, cmd: ['true'], tty: true, stdout: true, stderr: true },
    ])
      await assert.rejects(daemon.cri.exec(ExecRequest.fromPartial(request)), { code: 3 });
  });

  test('the server listens on loopback alone', async () => {
    const { port } = new URL(await portForward());
    const socket = connect({ host: '127.0.0.2', port: Number(port) });
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNREFUSED');
  });
}
