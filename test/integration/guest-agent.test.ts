/** The guest's agent in a real VM with the real kernel and runC, driven over the real link. */
import assert from 'node:assert/strict';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sleep } from '../../src/base/deadline.ts';
import { newContainerId } from '../../src/base/ids.ts';
import {
  CreateContainerRequest as Create,
  type CreateContainerRequest,
  type CreateContainerResponse,
} from '../../src/gen/agent/v1/agent.ts';
import { ContainerConfig } from '../../src/gen/cri/v1/api.ts';
import { buildSpec } from '../../src/oci/spec.ts';
import { AgentLink, EventLog } from '../helpers/agent-link.ts';
import { type AgentVm, bootAgentVm, busyboxLayer } from '../helpers/agent-vm.ts';

const image = process.env['HUSK_GUEST_IMAGE'] ?? join(import.meta.dirname, '../../build/guest-image/current');
const bootId = randomUUID();
let vm: AgentVm;
let link: AgentLink;
let events: EventLog;

const secondLayer = {
  'top.txt': 'of the upper layer\n',
  'hostile/etc/passwd': { symlinkTo: '/proc/self/environ' },
} as const;

before(async () => {
  vm = await bootAgentVm(image, [
    busyboxLayer,
    secondLayer,
    { ...busyboxLayer, 'etc/passwd': { symlinkTo: '../../../etc/shadow' } },
  ]);
  link = new AgentLink(vm.socket);
  events = new EventLog();
});

after(async () => {
  for (const [name, times] of link.timings) {
    const sorted = times.toSorted((a, b) => a - b);
    const at = (share: number): string => (sorted[Math.floor((sorted.length - 1) * share)] ?? 0).toFixed(0);
    process.stderr.write(`${name}: n=${times.length} first=${times[0]?.toFixed(0)} p50=${at(0.5)} p90=${at(0.9)} ms\n`);
  }
  if (process.env['HUSK_SHOW_CONSOLE'] !== undefined) process.stderr.write(await vm.console());
  link.close();
  await vm.stop();
});

interface Wish {
  readonly shell?: string;
  readonly args?: string[];
  readonly layers?: readonly number[];
  readonly request?: Partial<CreateContainerRequest>;
  readonly memoryBytes?: bigint;
  readonly sharedPid?: boolean;
}

async function create(wish: Wish): Promise<{ id: string; user: CreateContainerResponse['user'] }> {
  const id = newContainerId();
  const config = ContainerConfig.fromPartial({
    metadata: { name: 'c', attempt: 0 },
    command: wish.args ?? ['/bin/busybox', 'sh', '-c', wish.shell ?? 'true'],
    linux: { securityContext: {}, resources: { memoryLimitInBytes: wish.memoryBytes ?? 0n } },
  });
  const spec = buildSpec({
    containerId: id,
    config,
    hostname: 'pod',
    ...(wish.sharedPid === true ? { pidNamespacePath: '/run/husk/ns/pid' } : {}),
    image: { env: [], workingDir: '', entrypoint: [], cmd: [] },
  });
  const request = Create.fromPartial({
    containerId: id,
    specJson: Buffer.from(JSON.stringify(spec)),
    layers: (wish.layers ?? [0, 1]).map((index) => vm.layers[index] ?? assert.fail('no such layer')),
    user: { user: '' },
    ...wish.request,
  });
  return { id, user: (await link.call('createContainer', request)).user };
}

async function start(wish: Wish): Promise<string> {
  const { id } = await create(wish);
  await link.call('startContainer', { containerId: id });
  return id;
}

const remove = (containerId: string) => link.call('removeContainer', { containerId });
const stdoutOf = (id: string): string => Buffer.concat(events.of(id).stdout).toString();

test('the agent answers after boot and says what it is', { timeout: 150_000 }, async (t) => {
  const started = performance.now();
  await link.ready();
  const hello = await link.call('hello', { nonce: Buffer.from('abc') });
  t.diagnostic(`QEMU's start to hello: ${(performance.now() - started).toFixed(0)} ms`);
  assert.equal(hello.nonce.toString(), 'abc');
  assert.match(hello.ociRuntimeVersion, /^runc /);
  assert.equal(hello.configured, false);
});

test('configuring gives the pod its identity once', async () => {
  const request = {
    sandboxId: newContainerId(),
    entropy: randomBytes(64),
    bootId,
    machineId: randomBytes(16).toString('hex'),
    hostname: 'my-pod',
    wallClockNs: BigInt(Date.now()) * 1_000_000n,
    interface: {
      name: 'eth0',
      mac: '02:00:0a:00:02:0f',
      mtu: 1400,
      addresses: ['10.0.2.15/24', 'fd00:1::15/64'],
      routes: [
        { destination: '0.0.0.0/0', gateway: '169.254.1.1' },
        { destination: '169.254.1.1/32', gateway: '' },
        { destination: '10.0.2.0/25', gateway: '10.0.2.2' },
        { destination: '::/0', gateway: 'fd00:1::1' },
      ],
    },
    resolvConf: 'nameserver 10.0.2.3\n',
    sysctls: { 'net.ipv4.ip_unprivileged_port_start': '80' },
    shmSizeBytes: 2n ** 20n,
    sharedPidNamespace: true,
    userNamespace: undefined,
  };
  const { randomSample } = await link.call('configureSandbox', request);
  assert.equal(randomSample.length, 32);
  await assert.rejects(link.call('configureSandbox', request), /configured already/);
  events.listen(link);
});

test('a container sees the identity, the network and its files', async () => {
  const shell = [
    'hostname',
    'cat /etc/hostname /etc/resolv.conf /proc/sys/kernel/random/boot_id /proc/sys/net/ipv4/ip_unprivileged_port_start',
    'cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu /top.txt /pushed',
    'ip route | sort',
    'ip -6 route show default',
    'ping -c 1 -W 10 10.0.2.2 >/dev/null && echo reached',
    'df -k /dev/shm | tail -1 | tr -s " " | cut -d " " -f 2',
    'echo to-stderr > /dev/stderr',
    'echo again > /dev/stdout',
    'echo x > /pushed || echo read-only',
    'cat /proc/self/oom_score_adj',
  ];
  const applets =
    'for a in hostname cat ip sort ping df tail tr cut; do eval "$a() { /bin/busybox $a \\"\\$@\\"; }"; done\n';
  const id = await start({
    shell: applets + shell.join('\n'),
    request: { files: [{ path: '/pushed', content: Buffer.from('pushed\n'), mode: 0o644, readonly: true }] },
  });
  const exit = await events.exit(id);
  const lines = stdoutOf(id).trim().split('\n');
  assert.deepEqual(
    lines,
    [
      ...['my-pod', 'my-pod', 'nameserver 10.0.2.3', bootId, '80'],
      ...['02:00:0a:00:02:0f', '1400', 'of the upper layer', 'pushed'],
      ...[
        '10.0.2.0/24 dev eth0 scope link  src 10.0.2.15 ',
        '10.0.2.0/25 via 10.0.2.2 dev eth0 onlink ',
        '169.254.1.1 dev eth0 scope link ',
        'default via 169.254.1.1 dev eth0 onlink ',
      ].toSorted(),
      ...['default via fd00:1::1 dev eth0  metric 1024 onlink ', 'reached', '1024', 'again', 'read-only', '0'],
    ].map((line) => line),
  );
  assert.match(Buffer.concat(events.of(id).stderr).toString(), /^to-stderr\n/);
  assert.equal(exit.exitCode, 0);
  await remove(id);
});

test('exit codes, signals and killed-for-memory are told', async () => {
  const cases = [
    { wish: { shell: 'exit 42' }, exitCode: 42, oomKilled: false },
    // The first process of a PID namespace ignores signals that it sends itself, its child does not.
    { wish: { shell: '/bin/busybox sh -c "kill -15 \\$\\$"; exit $?' }, exitCode: 143, oomKilled: false },
    {
      wish: { shell: 'exec /bin/busybox tail /dev/zero', memoryBytes: 16n * 2n ** 20n },
      exitCode: 137,
      oomKilled: true,
    },
  ];
  for (const { wish, exitCode, oomKilled } of cases) {
    const id = await start(wish);
    const exit = await events.exit(id);
    assert.deepEqual(
      [exit.exitCode, exit.oomKilled],
      [exitCode, oomKilled],
      JSON.stringify(wish, (_, v: unknown) => String(v)),
    );
    await remove(id);
  }
});

test('users are resolved in the image, and links do not lead out of it', async () => {
  const named = await create({
    shell: 'true',
    request: { user: { user: 'web', supplementalGroups: [7], strictGroups: false } },
  });
  assert.deepEqual(named.user, { uid: 1000, gid: 1000, supplementalGroups: [1000, 6, 7] });
  await remove(named.id);
  await assert.rejects(
    create({ layers: [2], request: { user: { user: 'web', supplementalGroups: [], strictGroups: false } } }),
    /no such name/,
  );
  const id = await start({
    shell: '/bin/busybox id; echo $HOME; echo out > /dev/stdout',
    request: { user: { user: 'web', supplementalGroups: [], strictGroups: true } },
  });
  await events.exit(id);
  assert.equal(stdoutOf(id), 'uid=1000(web) gid=1000(web) groups=1000(web)\n/home/web\nout\n');
  await remove(id);
});

test('what cannot be created leaves nothing behind, and says why', async () => {
  await assert.rejects(create({ args: ['/no/such/program'] }), /no such file or directory/i);
  await assert.rejects(create({ request: { layers: [{ offsetBytes: 2n ** 39n, sizeBytes: 4096n }] } }), /mount/);
  const { containers } = await link.call('listContainers', {});
  assert.deepEqual(containers, []);
  const id = await start({ shell: 'exec /bin/busybox sleep 1000' });
  const { stdout } = await link.exec(id, [
    '/bin/busybox',
    'sh',
    '-c',
    '/bin/busybox df | /bin/busybox grep -c overlay',
  ]);
  assert.equal(stdout.toString(), '1\n');
  await remove(id);
});

test('an exec gives output, exit code, and dies with all its children at its timeout or when nobody waits', async () => {
  const id = await start({ shell: 'exec /bin/busybox sleep 1000' });
  const sh = (script: string, timeoutMs?: number) => link.exec(id, ['/bin/busybox', 'sh', '-c', script], timeoutMs);
  const good = await sh('echo out; echo err >&2; exit 3');
  assert.deepEqual(
    [good.stdout.toString(), good.stderr.toString(), good.result],
    ['out\n', 'err\n', { exitCode: 3, timedOut: false }],
  );
  const late = await sh('(/bin/busybox setsid /bin/busybox sleep 777 &) ; /bin/busybox sleep 777', 300);
  assert.deepEqual(late.result, { exitCode: 137, timedOut: true });
  assert.equal((await sh('/bin/busybox ps | /bin/busybox grep -c "[s]leep 777"')).stdout.toString(), '0\n');
  const dropped = link.client.exec({
    containerId: id,
    command: ['/bin/busybox', 'sleep', '778'],
    tty: false,
    timeoutMs: 0n,
  });
  dropped.on('error', () => undefined);
  // Before the process is there. (In the same turn grpc-js would start the call and never cancel it.)
  setImmediate(() => dropped.cancel());
  for (let alive = '?'; alive !== '0\n'; ) {
    await sleep(200);
    alive = (await sh('/bin/busybox ps | /bin/busybox grep -c "[s]leep 778"')).stdout.toString();
  }
  await assert.rejects(link.exec(id, ['/no/such']), /OCI runtime exec: .*no such file/i);
  const big = await sh('/bin/busybox head -c 3000000 /dev/zero | /bin/busybox tr "\\0" x');
  assert.equal(big.stdout.length, 3_000_000);
  const background = await sh('/bin/busybox sleep 779 & echo started');
  assert.equal(background.stdout.toString(), 'started\n');
  assert.equal((await sh('/bin/busybox ps | /bin/busybox grep -c "[s]leep 779"')).stdout.toString(), '1\n');
  await remove(id);
});

test('stopping sends the signal, then kills, and is done when the process is', async () => {
  const polite = await start({
    shell: 'trap "echo bye; exit 7" TERM; echo ready; while :; do /bin/busybox sleep 0.1; done',
  });
  await events.until(() => stdoutOf(polite).includes('ready'));
  await link.call('stopContainer', { containerId: polite, signal: 'TERM', graceMs: 20_000n });
  const { containers } = await link.call('listContainers', {});
  assert.equal(containers[0]?.state, 'exited');
  assert.equal((await events.exit(polite)).exitCode, 7);
  const deaf = await start({ shell: 'trap "" TERM; echo ready; while :; do /bin/busybox sleep 0.1; done' });
  await events.until(() => stdoutOf(deaf).includes('ready'));
  await link.call('stopContainer', { containerId: deaf, signal: '15', graceMs: 100n });
  assert.equal((await events.exit(deaf)).exitCode, 137);
  for (const containerId of [polite, deaf, newContainerId()]) {
    await link.call('stopContainer', { containerId, signal: 'TERM', graceMs: 10n });
    await remove(containerId);
    await remove(containerId);
  }
});

test('a stop before the program can take its signal still ends it by that signal, not by the end of the grace', async () => {
  const stop = async (wish: Wish, graceMs: bigint): Promise<number> => {
    const id = await start(wish);
    await link.call('stopContainer', { containerId: id, signal: 'TERM', graceMs });
    const { exitCode } = await events.exit(id);
    await remove(id);
    return exitCode;
  };
  const loop = 'while :; do /bin/busybox sleep 0.1; done';
  // The kernel drops what the first process of a PID namespace has no handler for (signal(7), pid_namespaces(7)).
  assert.equal(await stop({ shell: `/bin/busybox sleep 1; trap "exit 7" TERM; ${loop}` }, 30_000n), 7);
  assert.equal(await stop({ shell: `trap "exit 7" TERM; ${loop}` }, 30_000n), 7);
  // Made by runC itself, whose own handlers are not the program's.
  assert.equal(await stop({ shell: `trap "exit 7" TERM; ${loop}`, request: { stdin: true } }, 30_000n), 7);
  assert.equal(await stop({ shell: loop }, 500n), 137);
  assert.equal(await stop({ shell: loop, sharedPid: true }, 30_000n), 143);
});

test('no byte is lost or repeated over cut streams, and the exit comes again until acknowledged', async (t) => {
  const lines = 60_000;
  const id = await start({ shell: `/bin/busybox seq 1 ${lines}; /bin/busybox seq 1 2000 >&2; exit 5` });
  const started = performance.now();
  for (let cut = 1; cut <= 6; cut += 1) {
    await events.until(() => events.of(id).stdoutOffset >= BigInt(cut * 40_000) || events.of(id).exited !== undefined);
    events.cut();
    if (cut % 2 === 0) {
      link.close();
      const { timings } = link;
      link = new AgentLink(vm.socket);
      for (const [name, times] of timings) link.timings.set(name, times);
      await link.ready();
    }
    events.listen(link);
  }
  assert.equal((await events.exit(id)).exitCode, 5);
  const wanted = Array.from({ length: lines }, (_, index) => `${index + 1}\n`).join('');
  const digest = (data: string): string => createHash('sha256').update(data).digest('hex');
  t.diagnostic(`${wanted.length} bytes over 6 cuts: ${(performance.now() - started).toFixed(0)} ms`);
  assert.equal(digest(stdoutOf(id)), digest(wanted));
  assert.equal(Buffer.concat(events.of(id).stderr).toString().split('\n').length, 2001);
  assert.equal(events.of(id).exits, 1);
  await remove(id);
});

test('a container whose output nobody takes waits, and goes on when it is taken', async () => {
  events.acknowledging = false;
  const id = await start({ shell: '/bin/busybox seq 1 200000; echo done >&2' });
  await events.until(() => events.of(id).stdoutOffset > 128n * 1024n);
  await sleep(3_000);
  assert.equal(events.of(id).exited, undefined);
  assert.ok(events.of(id).stdoutOffset <= 256n * 1024n, 'no more than the ring holds is sent');
  events.cut();
  events.acknowledging = true;
  events.listen(link);
  await events.exit(id);
  assert.equal(
    events.of(id).stdoutOffset,
    BigInt(Array.from({ length: 200_000 }, (_, i) => `${i + 1}\n`).join('').length),
  );
  await remove(id);
});

test('an exit that was not acknowledged is told again on the next stream', async () => {
  events.acknowledging = false;
  const id = await start({ shell: 'exit 9' });
  await events.exit(id);
  events.cut();
  events.acknowledging = true;
  events.listen(link);
  await events.until(() => events.of(id).exits === 2);
  await remove(id);
});

test('in a shared PID namespace containers see each other, and what one leaves behind is killed', async () => {
  const other = await start({ sharedPid: true, shell: 'exec /bin/busybox sleep 4321' });
  const id = await start({
    sharedPid: true,
    shell: '/bin/busybox setsid /bin/busybox sleep 8765 & /bin/busybox ps; exit 0',
  });
  await events.exit(id);
  assert.match(stdoutOf(id), /^ +1 .*husk-pause/m);
  assert.match(stdoutOf(id), /sleep 4321/);
  const { stdout } = await link.exec(other, ['/bin/busybox', 'ps']);
  assert.doesNotMatch(stdout.toString(), /8765/);
  await Promise.all([remove(id), remove(other)]);
});

test('many short containers come and go, some at once, and the layers are mapped once each', async () => {
  for (let round = 0; round < 3; round += 1) {
    const ids = await Promise.all(
      [0, 1, 2, 3].map((n) => start({ shell: `echo ${round} ${n}`, layers: n % 2 === 0 ? [0, 1] : [0] })),
    );
    for (const [n, id] of ids.entries()) {
      assert.equal((await events.exit(id)).exitCode, 0);
      assert.equal(stdoutOf(id), `${round} ${n}\n`);
    }
    await Promise.all(ids.map(remove));
  }
  const { containers } = await link.call('listContainers', {});
  assert.deepEqual(containers, []);
  const text = await vm.console();
  assert.doesNotMatch(text, /agent (warn|error)/);
});
