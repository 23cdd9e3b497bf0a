/** crictl as an operator uses it: the commands of the README, on a daemon of the test's own. Skipped where it is not built. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { sleep, withDeadline } from '../../src/base/deadline.ts';
import { busyboxImage } from '../fixtures/oci-image.ts';
import { pushImage, startRegistry, type TestRegistry } from '../fixtures/registry.ts';
import { type Daemon, startDaemon } from '../helpers/daemon.ts';
import { crictl, findCrictl, runCrictl } from '../helpers/streams.ts';

const image = 'docker.io/library/busybox:latest';
const skip = findCrictl() === undefined ? 'crictl is not built: make crictl CRI_TOOLS=v1.36 (needs Go)' : false;
const waitMs = 40_000;
let registry: TestRegistry;
let daemon: Daemon;
let files: { pod: string; container: string };

before(async () => {
  if (skip !== false) return;
  registry = await startRegistry();
  await pushImage(registry, 'library/busybox:latest', busyboxImage());
  daemon = await startDaemon({ mirror: { to: registry.host, of: ['docker.io'] } });
  files = { pod: join(daemon.folder, 'pod.json'), container: join(daemon.folder, 'container.json') };
  const logs = join(daemon.folder, 'pod-logs');
  await mkdir(logs);
  const metadata = { name: 'demo', namespace: 'default', uid: 'demo-1' };
  await writeFile(files.pod, JSON.stringify({ metadata, log_directory: logs, linux: {} }));
  const line = [
    'mkdir /tmp/w',
    'echo served >/tmp/w/index.html',
    // It listens when it goes into the background.
    'httpd -p 127.0.0.1:80 -h /tmp/w',
    'echo hello from $(hostname)',
    'trap "echo told to stop; exit 3" TERM',
    'while :; do read -t 1 line && echo "heard $line"; done',
  ].join('; ');
  const container = {
    ...{ metadata: { name: 'hello' }, image: { image }, command: ['sh', '-c', line], log_path: 'hello.log' },
    ...{ labels: { role: 'greeter' }, stdin: true, linux: {} },
  };
  await writeFile(files.container, JSON.stringify(container));
});
after(async () => {
  await daemon?.stop();
  await registry?.stop();
});

/** Standard output of a command that must succeed, told in the test's output. */
async function told(context: TestContext, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCrictl(daemon.socket, args);
  const text = stdout.toString().trim();
  context.diagnostic(`crictl ${args.join(' ')}\n${`${text}\n${stderr}`.trim().slice(0, 1_500)}`);
  assert.equal(code, 0, `crictl ${args.join(' ')}: ${stderr}`);
  return text;
}

/** A field of the JSON that a command prints, by its path; the whole without one. */
async function field(context: TestContext, path: string, ...args: string[]): Promise<unknown> {
  const keys = path === '' ? [] : path.split('.');
  const whole = JSON.parse(await told(context, ...args)) as unknown;
  return keys.reduce((value, key) => (value as Record<string, unknown> | undefined)?.[key], whole);
}

/** Runs until `enough` holds for what it has written, then kills it. @param input is written, and its end is not told */
async function background(
  args: readonly string[],
  enough: (text: string) => boolean,
  { input = '', withinMs = waitMs } = {},
): Promise<string> {
  const child = crictl(daemon.socket, args);
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (text += String(chunk)));
  const gone = once(child, 'exit');
  child.stdin?.write(input);
  try {
    await withDeadline(`crictl ${args.join(' ')}`, withinMs, undefined, async (signal) => {
      while (!enough(text)) await sleep(50, signal);
    });
  } catch (caught) {
    assert.fail(`${String(caught)}; it has said: ${text}`);
  } finally {
    child.kill('SIGKILL');
    await gone;
  }
  return text;
}

test('crictl runs a pod and a container, looks at them, and takes them away', { skip }, async (context) => {
  const run = (...args: string[]): Promise<string> => told(context, ...args);
  assert.match(await run('version'), /RuntimeName: +husk\n[^]*RuntimeApiVersion: +v1$/);
  const conditions = (await field(context, 'status.conditions', 'info')) as { type: string; status: boolean }[];
  assert.deepEqual(
    conditions.slice(0, 2).map(({ type, status }) => [type, status]),
    [
      ['RuntimeReady', true],
      ['NetworkReady', true],
    ],
  );
  await run('pull', image);
  assert.match(await run('images'), /docker\.io\/library\/busybox +latest +[0-9a-f]{13} +\d/);
  assert.equal(await field(context, 'status.repoTags.0', 'inspecti', image), image);

  const events = background(['events'], (text) => text.includes('CONTAINER_STOPPED_EVENT'), { withinMs: 300_000 });
  // Looked at when the container has ended; a failure before that is the one to tell.
  events.catch(() => undefined);
  const pod = await run('runp', files.pod);
  assert.match(await run('pods'), /Ready +demo +default +0 +\(default\)/);
  assert.equal(await field(context, 'status.state', 'inspectp', pod), 'SANDBOX_READY');
  assert.match(String(await field(context, 'status.network.ip', 'inspectp', pod)), /^10\./);
  const container = await run('create', pod, files.container, files.pod);
  assert.match(await run('ps', '-a'), /Created +hello/);
  await run('start', container);
  assert.match(await run('ps', '--label', 'role=greeter'), /Running +hello +0 +[0-9a-f]{13}/);
  assert.equal(await field(context, 'status.state', 'inspect', container), 'CONTAINER_RUNNING');
  assert.equal(await field(context, 'status.image.userSpecifiedImage', 'inspect', container), image);

  assert.match(await run('exec', '-s', container, 'cat', '/proc/version'), /^Linux version .*Debian/);
  assert.equal(await run('exec', container, 'sh', '-c', 'echo out; echo err >&2'), 'out');
  const refused = await runCrictl(daemon.socket, ['exec', container, 'sh', '-c', 'exit 9']);
  assert.match(refused.stderr, /exit code 9|exit status 9/);
  await background(['logs', '-f', container], (text) => text.includes('hello from '));

  await background(['attach', '-i', container], (text) => text.includes('heard me'), { input: 'me\n' });

  await run('stats', '-a');
  assert.equal(await field(context, 'stats.0.attributes.id', 'stats', '-o', 'json', container), container);
  await run('statsp', pod);
  assert.equal(await field(context, 'stats.0.attributes.id', 'statsp', '-o', 'json', pod), pod);
  assert.ok(Number(await field(context, 'status.imageFilesystems.0.usedBytes.value', 'imagefsinfo')) > 0);
  await run('update', '--cpu-share', '512', container);

  await run('stop', '-t', '20', container);
  assert.equal(await field(context, 'status.exitCode', 'inspect', container), 3);
  assert.match(await run('logs', container), /heard me\ntold to stop$/);
  assert.match(await run('logs', '--tail', '1', container), /^told to stop$/);
  const types = (await events).match(/CONTAINER_\w+_EVENT/g) ?? [];
  assert.deepEqual(
    [...new Set(types)],
    ['CONTAINER_CREATED_EVENT', 'CONTAINER_STARTED_EVENT', 'CONTAINER_STOPPED_EVENT'],
  );
  await run('rm', container);
  await run('stopp', pod);
  assert.match(await run('pods'), /NotReady +demo/);
  await run('rmp', pod);
  await run('rmi', image);
  assert.deepEqual(
    [await field(context, '', 'pods', '-o', 'json'), await field(context, '', 'ps', '-a', '-o', 'json')],
    [{ items: [] }, { containers: [] }],
  );
});

test('crictl run, port-forward, and one command that takes all away', { skip }, async (context) => {
  const container = await told(context, 'run', '--with-pull', files.container, files.pod);
  const pod = String(await field(context, 'containers.0.podSandboxId', 'ps', '-o', 'json'));
  await background(['logs', '-f', container], (text) => text.includes('hello from '));
  const forward = crictl(daemon.socket, ['port-forward', pod, '0:80']);
  const gone = once(forward, 'exit');
  let text = '';
  for (const stream of [forward.stdout, forward.stderr]) stream?.on('data', (chunk) => (text += String(chunk)));
  try {
    await withDeadline('port-forward to listen', waitMs, undefined, async (signal) => {
      while (!/127\.0\.0\.1:\d+/.test(text)) await sleep(50, signal);
    });
    const socket = connect(Number(/127\.0\.0\.1:(\d+)/.exec(text)?.[1]), '127.0.0.1');
    socket.write('GET /index.html HTTP/1.0\r\n\r\n');
    assert.match(Buffer.concat(await socket.toArray()).toString(), /^HTTP\/1\.1 200 OK\r\n[^]*served\n$/);
  } finally {
    forward.kill('SIGKILL');
    await gone;
  }
  assert.match(await told(context, 'rmp', '-fa'), new RegExp(pod));
  const missing = await runCrictl(daemon.socket, ['inspect', container]);
  assert.notEqual(missing.code, 0);
  assert.match(missing.stderr, /NotFound.*no such container/);
});
