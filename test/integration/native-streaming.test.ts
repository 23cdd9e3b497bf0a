/** exec, attach and port-forward against native pods: what VM pods do, and what only native ones have. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { after, before, suite, test } from 'node:test';
import { sleep, withDeadline } from '../../src/base/deadline.ts';
import { AttachRequest, ExecRequest } from '../../src/gen/cri/v1/api.ts';
import { type NativeBench, startNativeBench } from '../helpers/native.ts';
import { shell, startContainer } from '../helpers/pods.ts';
import { connectSpdy, joinCommand, type RemoteCommand } from '../helpers/streams.ts';
import { extraFiles, streamingContract } from './streaming.contract.ts';

const waitMs = 20_000;

suite('what both runtimes do', () => {
  streamingContract(async () => {
    const bench = await startNativeBench({ extra: await extraFiles() });
    const { daemon, image } = bench;
    return { daemon, image, pod: await bench.runPod(), close: () => bench.close() };
  });
});

suite('what native pods do', () => {
  let bench: NativeBench;

  before(async () => {
    bench = await startNativeBench();
  });
  after(async () => bench?.close());

  type Wanted = Partial<Pick<ExecRequest, 'tty' | 'stdin' | 'stdout' | 'stderr'>>;

  async function exec(containerId: string, line: string, wanted: Wanted = { stdout: true }): Promise<RemoteCommand> {
    const request = ExecRequest.fromPartial({ containerId, cmd: ['sh', '-c', line], ...wanted });
    return joinCommand((await bench.daemon.cri.exec(request)).url, wanted);
  }

  async function attach(containerId: string, wanted: Wanted): Promise<RemoteCommand> {
    const { url } = await bench.daemon.cri.attach(AttachRequest.fromPartial({ containerId, ...wanted }));
    return joinCommand(url, wanted);
  }

  async function until(what: string, enough: () => boolean | Promise<boolean>): Promise<void> {
    await withDeadline(what, waitMs, undefined, async (signal) => {
      while (!(await enough())) await sleep(20, signal);
    });
  }

  /** The processes that serve streams of the daemon's pods. */
  async function streamProcesses(): Promise<number[]> {
    const found: number[] = [];
    for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
      const line = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '');
      if (/husk-native-/.test(line) && line.includes(bench.daemon.folder)) found.push(Number(pid));
    }
    return found;
  }

  test('a pod is removed while clients are joined and URLs wait for theirs: nothing is left', async () => {
    const pod = await bench.runPod();
    const { daemon } = bench;
    const containerId = await startContainer(daemon, pod, shell(bench.image, 'sleep 600', { stdin: true }));
    const running = await exec(containerId, 'echo up; sleep 600', { stdin: true, stdout: true });
    const attached = await attach(containerId, { stdin: true, stdout: true });
    const { url } = await daemon.cri.portForward({ podSandboxId: pod.id, port: [] });
    const forward = await connectSpdy(url, 'portforward.k8s.io');
    for (let each = 0; each < 3; each += 1) {
      await daemon.cri.portForward({ podSandboxId: pod.id, port: [] });
      await daemon.cri.exec(ExecRequest.fromPartial({ containerId, cmd: ['true'], tty: true, stdout: true }));
      await daemon.cri.attach(AttachRequest.fromPartial({ containerId, stdout: true }));
    }
    await until('the command', () => running.stdout?.text() === 'up\n');
    assert.equal((await streamProcesses()).length, 12);
    await bench.removePod(pod.id);
    for (const each of [running, attached]) await withDeadline('the end', waitMs, undefined, () => each.client.closed);
    assert.deepEqual(bench.holdings(), []);
    forward.socket.destroy();
  });

  test('who moves a client’s bytes has no rights, and goes with the client', async () => {
    const pod = await bench.runPod();
    const containerId = await startContainer(bench.daemon, pod, shell(bench.image, 'sleep 600'));
    const command = await exec(containerId, 'echo up; read line', { tty: true, stdin: true, stdout: true });
    const { url } = await bench.daemon.cri.portForward({ podSandboxId: pod.id, port: [] });
    const forward = await connectSpdy(url, 'portforward.k8s.io');
    const attached = await attach(containerId, { stdout: true });
    await until('the command', () => command.stdout?.text().includes('up') === true);
    const statuses = async (): Promise<string[]> =>
      Promise.all((await streamProcesses()).map((pid) => readFile(`/proc/${pid}/status`, 'latin1')));
    // Until it is joined with conmon it is root; no byte of the client has been looked at by then.
    await until('the three to give up root', async () =>
      (await statuses()).every((text) => /^Uid:\t64013\t64013\t64013\t64013$/m.test(text)),
    );
    assert.equal((await statuses()).length, 3);
    for (const text of await statuses()) {
      assert.match(text, /^Groups:\t *$/m);
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'])
        assert.match(text, new RegExp(`^${set}:\t0{16}$`, 'm'));
    }
    await command.stdin?.write('\n');
    await command.status();
    forward.socket.destroy();
    attached.client.socket.destroy();
    await until('the processes to go', async () => (await streamProcesses()).length === 0);
    assert.deepEqual(await readdir(`${bench.daemon.folder}/run/streams`), []);
    await bench.removePod(pod.id);
  });

  test('a daemon that is killed takes no stream with it', async () => {
    const pod = await bench.runPod();
    const containerId = await startContainer(bench.daemon, pod, shell(bench.image, 'sleep 600'));
    const line = 'i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); sleep 0.02; done; exit 3';
    const command = await exec(containerId, line);
    await until('the command', () => (command.stdout?.bytes ?? 0) > 0);
    await bench.daemon.kill();
    const { exitCode } = await withDeadline('the exit code', waitMs, undefined, () => command.status());
    assert.equal(exitCode, 3);
    assert.equal(command.stdout?.text(), Array.from({ length: 100 }, (_, index) => `line ${index}\n`).join(''));
    await bench.daemon.restart();
    await bench.removePod(pod.id);
    assert.deepEqual(bench.holdings(), []);
  });

  test('a client that only looks does not end the input of a stdin_once container', async () => {
    const pod = await bench.runPod();
    const fields = { stdin: true, stdinOnce: true };
    const line = 'echo ready; while read line; do echo "got $line"; done; echo end';
    const containerId = await startContainer(bench.daemon, pod, shell(bench.image, line, fields));
    const looking = await attach(containerId, { stdout: true });
    await sleep(200);
    looking.client.socket.destroy();
    await sleep(200);
    const typing = await attach(containerId, { stdin: true, stdout: true });
    await typing.stdin?.write('one\n');
    typing.stdin?.end();
    await typing.status();
    assert.equal(typing.stdout?.text(), 'got one\nend\n');
    await bench.removePod(pod.id);
    assert.deepEqual(bench.holdings(), []);
  });

  test('input for a container that takes none is refused before a URL is made', async () => {
    const pod = await bench.runPod();
    const containerId = await startContainer(bench.daemon, pod, shell(bench.image, 'sleep 600'));
    await assert.rejects(attach(containerId, { stdin: true, stdout: true }), { code: 9, details: /standard input/ });
    await bench.removePod(pod.id);
  });

  test('ports of a pod on the host’s network are the host’s', async () => {
    const server = createServer((socket) => socket.end('the host\n'));
    server.listen(0, '::1');
    await once(server, 'listening');
    const port = String((server.address() as AddressInfo).port);
    const pod = await bench.runPod({ namespaceOptions: { network: 2, pid: 1 } }, {}, '');
    const { url } = await bench.daemon.cri.portForward({ podSandboxId: pod.id, port: [] });
    const client = await connectSpdy(url, 'portforward.k8s.io');
    const error = await client.open({ streamtype: 'error', port, requestid: '0' }, true);
    const data = await client.open({ streamtype: 'data', port, requestid: '0' });
    assert.equal(await data.ended, 'fin');
    assert.equal(data.text(), 'the host\n');
    data.end();
    assert.equal(await error.ended, 'fin');
    client.socket.destroy();
    server.close();
    await bench.removePod(pod.id);
    assert.deepEqual(bench.holdings(), []);
  });
});
