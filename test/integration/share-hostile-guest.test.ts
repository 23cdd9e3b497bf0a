/**
 * Guests that were taken over: a container leaves for the guest's kernel, becomes its root, takes the port of the file
 * server and attacks with raw requests (test/fixtures/hostile-guest.c); pods exchange names while others are made, stopped
 * and removed. 200 files and 10 mounts outside the shares must stay as they are. `HUSK_ESCAPE_OPERATIONS` sets the number
 * of operations of each attack.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { run } from '../../src/base/exec.ts';
import { type ContainerConfig, PodSandboxState } from '../../src/gen/cri/v1/api.ts';
import { busyboxImage } from '../fixtures/oci-image.ts';
import { type Canaries, makeCanaries } from '../helpers/canaries.ts';
import type { Daemon } from '../helpers/daemon.ts';
import { type DaemonWithImage, startDaemonWithImage } from '../helpers/daemon-with-image.ts';
import { eventually, logContent, removePod, runPod, shell, startContainer, waitForLog } from '../helpers/pods.ts';

const image = 'docker.io/library/busybox:latest';
const operations = Number(process.env['HUSK_ESCAPE_OPERATIONS'] ?? '10000');
const host = mkdtempSync(join(tmpdir(), 'husk-hostile-'));
const [data, only, outside] = [join(host, 'data'), join(host, 'only'), join(host, 'outside')];
/** What the host is asked for during an attack is answered within this; it takes some ten milliseconds. */
const answerMs = 5_000;
let daemon: Daemon;
let close: DaemonWithImage['close'] | undefined;
let canaries: Canaries;
let unharmed: string[];

before(async () => {
  mkdirSync(data, { mode: 0o777 });
  mkdirSync(join(only, 'folder'), { recursive: true });
  for (const name of ['kept', 'folder/kept', 'canary1', 'canary4']) writeFileSync(join(only, name), 'kept');
  canaries = makeCanaries(outside);
  unharmed = [...canaries.state(), ...listed(only)];
  const program = join(host, 'hostile-guest');
  const sources = ['hostile-guest.c', 'hostile-requests.c'].map((name) =>
    join(import.meta.dirname, '../fixtures', name),
  );
  const flags = ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-static'];
  await run('gcc', [...flags, '-o', program, ...sources], { timeoutMs: 60_000 });
  const extra = [{ name: 'bin/hostile-guest', data: readFileSync(program), mode: 0o755 }];
  ({ daemon, close } = await startDaemonWithImage(busyboxImage({ extra })));
});
after(async () => {
  await close?.();
  canaries?.remove();
  rmSync(host, { recursive: true, force: true });
});

type Pod = Awaited<ReturnType<typeof runPod>>;

/** All that a read-only share has, with times and contents. */
function listed(folder: string): string[] {
  const format = ['-printf', '%p %y %m %U %G %n %s %T@ %C@ %i\n'];
  const lines = execFileSync('find', [folder, '(', '-type', 'd', ...format, ')', '-o', ...format], {
    encoding: 'utf8',
  });
  return [...lines.trim().split('\n').toSorted(), readFileSync(join(folder, 'kept'), 'utf8')];
}

function assertUnharmed(): void {
  assert.deepEqual([...canaries.state(), ...listed(only)], unharmed);
}

const mounts = [
  { containerPath: '/data', hostPath: data },
  { containerPath: '/only', hostPath: only, readonly: true },
];
const everything = { linux: { securityContext: { capabilities: { addCapabilities: ['ALL'] } } } };

function hostile(line: string): ContainerConfig {
  return shell(image, `ls /data /only > /dev/null 2>&1; ${line}; echo end`, { mounts, ...everything });
}

const logOf = (pod: Pod, { logPath }: ContainerConfig): string => join(pod.config.logDirectory, logPath);

/** Starts a container that attacks; what it said, and how long the daemon took at most to answer meanwhile. */
async function attacked(context: TestContext, part: string, count: number): Promise<{ pod: Pod; said: string }> {
  const pod = await runPod(daemon, {}, 'vm');
  const config = hostile(`hostile-guest ${part} ${count} ${outside}`);
  await startContainer(daemon, pod, config);
  const end = waitForLog(logOf(pod, config), 'end');
  let [done, slowest] = [false, 0];
  void end.finally(() => (done = true)).catch(() => undefined);
  while (!done) {
    const from = performance.now();
    await daemon.cri.containerStats({ containerId: await other() });
    readdirSync(data);
    slowest = Math.max(slowest, performance.now() - from);
  }
  await end;
  const said = logContent(readFileSync(logOf(pod, config), 'utf8')).trim();
  context.diagnostic(`${part}: ${said.split('\n')[0]}; the daemon answered within ${Math.round(slowest)} ms`);
  assert.ok(slowest < answerMs, `${slowest} ms for an answer about another pod`);
  return { pod, said };
}

/** A container of another pod that has the same folders: it must not be held up. */
let bystander: Promise<string> | undefined;
function other(): Promise<string> {
  bystander ??= runPod(daemon, {}, 'vm').then((pod) =>
    startContainer(daemon, pod, shell(image, 'sleep 10000', { mounts })),
  );
  return bystander;
}

async function isReady(pod: Pod): Promise<boolean> {
  const { status } = await daemon.cri.podSandboxStatus({ podSandboxId: pod.id, verbose: false });
  return status?.state === PodSandboxState.SANDBOX_READY;
}

for (const part of ['links', 'numbers', 'read-only']) {
  test(`root of a guest attacks by ${part}`, { timeout: 300_000 }, async (context) => {
    await other();
    const { pod, said } = await attacked(context, part, operations);
    const [, requests, changed] = /^(\d+) requests, (\d+) changed a file, \d+ refused\nend$/.exec(said) ?? [said];
    assert.ok(Number(requests) >= operations, said);
    assertUnharmed();
    // The folder that it may write to was written to, so the attack was one; and the other one was not.
    if (part === 'links') assert.ok(Number(changed) > 100, said);
    if (part === 'read-only') assert.equal(Number(changed), 0, said);
    assert.equal(await isReady(pod), true, 'requests alone do not end a session');
    await removePod(daemon, pod.id);
  });
}

test('root of a guest attacks while another pod exchanges names for links', { timeout: 300_000 }, async (context) => {
  const swapper = await runPod(daemon, {}, 'vm');
  const swaps = hostile(`while :; do hostile-guest swap ${operations} ${outside} /data; done`);
  await startContainer(daemon, swapper, swaps);
  const { pod, said } = await attacked(context, 'swaps', operations);
  assert.match(said, /^\d+ requests, [1-9]\d* changed a file, [1-9]\d* refused\nend$/);
  assertUnharmed();
  for (const { id } of [swapper, pod]) await removePod(daemon, id);
  assertUnharmed();
});

/** A sub-path as the kubelet prepares it: what is there by now is mounted, never a link. Undefined when it is one. */
function subPath(target: string): string | undefined {
  mkdirSync(target, { recursive: true });
  let folder: number;
  try {
    folder = openSync(join(data, 'd'), constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch {
    return undefined;
  }
  const stdio = ['ignore', 'ignore', 'ignore', folder] as const;
  execFileSync('mount', ['--no-canonicalize', '--bind', '/proc/self/fd/3', target], { stdio: [...stdio] });
  closeSync(folder);
  return target;
}

test('a pod exchanges names while others are made, stopped and removed', { timeout: 300_000 }, async (context) => {
  const swapper = await runPod(daemon, {}, 'vm');
  const swaps = `hostile-guest swap ${operations} ${outside} /data`;
  const config = hostile(`${swaps}; while [ ! -e /data/enough ]; do ${swaps}; done`);
  await startContainer(daemon, swapper, config);
  const file = logOf(swapper, config);
  const said = (): string => logContent(readFileSync(file, 'utf8'));
  const made = { containers: 0, links: 0 };
  for (let pod: Pod | undefined; made.containers < 5 || !said().includes(' failed'); ) {
    pod ??= await runPod(daemon, {}, 'vm');
    const sub = subPath(join(host, 'pods/u1/volume-subpaths/v/c', String(made.containers)));
    if (sub === undefined) {
      made.links += 1;
      continue;
    }
    const more = { containerPath: '/sub', hostPath: sub };
    const own = shell(image, 'touch /sub/new /data/d/new; echo done; sleep 1000', { mounts: [more, ...mounts] });
    const containerId = await startContainer(daemon, pod, own);
    await waitForLog(logOf(pod, own), 'done');
    await daemon.cri.stopContainer({ containerId, timeout: 0n });
    await daemon.cri.removeContainer({ containerId });
    made.containers += 1;
    // Every other container goes with its pod.
    if (made.containers % 2 === 0) {
      await removePod(daemon, pod.id);
      pod = undefined;
    }
    execFileSync('umount', [sub]);
    assert.ok(existsSync(join(data, 'd')), 'the name is always there');
  }
  writeFileSync(join(data, 'enough'), '');
  await waitForLog(file, 'end');
  context.diagnostic(`${made.containers} containers, ${made.links} times a link; ${said().trim()}`);
  // One guest changes these names and asks in order; what others do at the folder `d` refuses it nothing.
  for (const line of said().trim().split('\n').slice(0, -1)) assert.match(line, / 0 failed$/);
  await removePod(daemon, swapper.id);
  assertUnharmed();
});

test('a guest that says what is no request loses its pod and nothing else', { timeout: 300_000 }, async (context) => {
  await other();
  const { pod, said } = await attacked(context, 'garbage', 0);
  assert.match(said, /said what is no request/);
  await eventually(async () => !(await isReady(pod)), 10_000);
  await removePod(daemon, pod.id);
  assertUnharmed();
});
