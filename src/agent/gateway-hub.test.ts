import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { sleep } from '../base/deadline.ts';
import { isKind } from '../base/errors.ts';
import type { Agent } from './agent.ts';
import { createRequest, type FakeGuest, GatewayHarness, testId, testLinkKey } from './testing/harness.ts';

const a = testId('a');
const call = { timeoutMs: 5_000 };

async function startContainer(agent: Agent, id: string): Promise<void> {
  await agent.createContainer(createRequest(id), call);
  await agent.startContainer(id, call);
}

/** Random bytes with lines of all lengths in them, ended by a newline. */
function someOutput(bytes: number): Buffer {
  const data = randomBytes(bytes);
  for (let at = 40_000; at < bytes - 40_000; at += 1) if (at % 70_000 < 30_000 && data[at] === 10) data[at] = 11;
  data[bytes - 1] = 10;
  return data;
}

test('calls, output and exits go through the gateway', async () => {
  await using harness = await GatewayHarness.start();
  const guest = await harness.guest('vm1');
  const agent = await harness.attach(guest);
  await startContainer(agent, a);
  assert.equal((await agent.listContainers(call))[0]?.state, 'running');
  guest.agent.write(a, 'stdout', Buffer.from('one\ntwo'));
  guest.agent.write(a, 'stderr', Buffer.from('oops\n'));
  guest.agent.exit(a, 3);
  await harness.sink.until(() => harness.sink.exits.length > 0);
  assert.equal(harness.sink.content(a, 'stdout').toString(), 'one\ntwo\n');
  assert.equal(harness.sink.content(a, 'stderr').toString(), 'oops\n');
  assert.equal(harness.sink.exits[0]?.exitCode, 3);
  const exec = await agent.execSync({
    containerId: a,
    command: ['hi', 'there'],
    timeoutMs: 5_000,
    maxOutputBytes: 100,
  });
  assert.deepEqual([exec.stdout.toString(), exec.exitCode, exec.timedOut], ['hi there', 0, false]);
  await agent.removeContainer(a, call);
  await harness.hub.detach(guest.id);
  await assert.rejects(agent.listContainers(call), (caught) => isKind(caught, 'unavailable'));
});

test('a missing channel is an error at the deadline, and the next try works', async () => {
  await using harness = await GatewayHarness.start();
  const guest = await harness.guest('vm1');
  const vm = { id: 'vm1', agentSocket: `${guest.channel.path}.not`, linkKey: testLinkKey, resume: [] };
  await assert.rejects(harness.hub.attach(vm, { timeoutMs: 200 }), (caught) => isKind(caught, 'deadline-exceeded'));
  await startContainer(await harness.attach(guest), a);
});

test('5 MB over 50 broken links reach the log exactly once', async () => {
  await using harness = await GatewayHarness.start();
  let last: Buffer = Buffer.from('HUSK-ECHO 0000');
  const guest = await harness.guest('vm1', {}, { stale: () => last });
  await startContainer(await harness.attach(guest), a);
  const output = someOutput(5_000_000);
  const pieces = 50;
  for (let piece = 0; piece < pieces; piece += 1) {
    const bytes = output.subarray((piece * output.length) / pieces, ((piece + 1) * output.length) / pieces);
    await guest.channel.untilSessions(piece + 1);
    const before = harness.sink.offset(a, 'stdout');
    guest.agent.write(a, 'stdout', bytes);
    last = bytes.subarray(0, 60_000);
    // Cut when some of it has come, so in mid-stream.
    await harness.sink.until(() => harness.sink.offset(a, 'stdout') > before);
    guest.channel.cut();
  }
  guest.agent.exit(a, 0);
  await harness.sink.until(() => harness.sink.exits.length > 0);
  assert.equal(harness.sink.content(a, 'stdout').equals(output), true);
  assert.equal(guest.channel.sessions >= pieces, true);
  assert.deepEqual(harness.sink.lost, []);
});

async function killGateway(harness: GatewayHarness): Promise<void> {
  const pid = await harness.hub.gatewayPid();
  assert.notEqual(pid, undefined);
  process.kill(Number(pid), 'SIGKILL');
}

test('a gateway killed in mid-stream is replaced: nothing is lost, nothing comes twice, calls work on', async () => {
  await using harness = await GatewayHarness.start();
  const guests: { guest: FakeGuest; agent: Agent; id: string; output: Buffer }[] = [];
  for (const digit of ['a', 'b', 'c']) {
    const guest = await harness.guest(`vm-${digit}`);
    const agent = await harness.attach(guest);
    await startContainer(agent, testId(digit));
    guests.push({ guest, agent, id: testId(digit), output: someOutput(1_500_000) });
  }
  for (let round = 0; round < 5; round += 1) {
    const before = guests.map(({ id }) => harness.sink.offset(id, 'stdout'));
    for (const { guest, id, output } of guests)
      guest.agent.write(id, 'stdout', output.subarray(round * 300_000, (round + 1) * 300_000));
    await harness.sink.until(() =>
      guests.every(({ id }, at) => harness.sink.offset(id, 'stdout') > (before[at] ?? 0n)),
    );
    await killGateway(harness);
  }
  for (const { guest, agent, id } of guests) {
    guest.agent.exit(id, 0);
    // In the moment between, a call may fail; the next one does not.
    await agent.listContainers(call).catch((caught: unknown) => assert.equal(isKind(caught, 'unavailable'), true));
    assert.equal((await agent.listContainers({ timeoutMs: 20_000 })).length, 1);
  }
  await harness.sink.until(() => harness.sink.exits.length >= 3);
  for (const { id, output } of guests) assert.equal(harness.sink.content(id, 'stdout').equals(output), true);
  assert.deepEqual(harness.sink.lost, []);
});

// A chunk of the attach before is on its way here when the new one is made: without the number of the attach in each
// event it is stored and acknowledged in place of the new link's own chunk, which then waits for ever.
test('a huskd that comes back finds the same gateway and the output of the time between', async () => {
  await using harness = await GatewayHarness.start();
  const guest = await harness.guest('vm1');
  await startContainer(await harness.attach(guest), a);
  const output = someOutput(2_000_000);
  guest.agent.write(a, 'stdout', output.subarray(0, 1_000_000));
  await harness.sink.until(() => harness.sink.offset(a, 'stdout') > 100_000n);
  const pid = await harness.hub.gatewayPid();
  await harness.closeHub();
  guest.agent.write(a, 'stdout', output.subarray(1_000_000));
  guest.agent.exit(a, 7);
  await harness.openHub();
  assert.equal(await harness.hub.gatewayPid(), pid);
  await harness.attach(guest);
  await harness.sink.until(() => harness.sink.exits.length > 0);
  assert.equal(harness.sink.content(a, 'stdout').equals(output), true);
  assert.equal(harness.sink.exits[0]?.exitCode, 7);
});

test('a huskd that comes and goes in mid-stream finds the same gateway, and output exactly once', async () => {
  await using harness = await GatewayHarness.start();
  const guest = await harness.guest('vm1');
  await startContainer(await harness.attach(guest), a);
  const pid = await harness.hub.gatewayPid();
  const output = someOutput(4_000_000);
  for (let round = 0; round < 10; round += 1) {
    const before = harness.sink.offset(a, 'stdout');
    guest.agent.write(a, 'stdout', output.subarray(round * 400_000, round * 400_000 + 300_000));
    await harness.sink.until(() => harness.sink.offset(a, 'stdout') > before);
    await harness.closeHub();
    guest.agent.write(a, 'stdout', output.subarray(round * 400_000 + 300_000, (round + 1) * 400_000));
    if (round === 9) guest.agent.exit(a, 7);
    await harness.openHub();
    assert.equal(await harness.hub.gatewayPid(), pid);
    await harness.attach(guest);
  }
  await harness.sink.until(() => harness.sink.exits.length > 0);
  assert.equal(harness.sink.content(a, 'stdout').equals(output), true);
  assert.equal(harness.sink.exits[0]?.exitCode, 7);
});

test('while a log cannot be written its guest is not read; then everything comes', async () => {
  await using harness = await GatewayHarness.start();
  const guest = await harness.guest('vm1');
  const other = await harness.guest('vm2');
  await startContainer(await harness.attach(guest), a);
  await startContainer(await harness.attach(other), testId('b'));
  const { promise, resolve } = Promise.withResolvers<void>();
  let asked = 0;
  harness.sink.gate = () => {
    asked += 1;
    return asked === 1 ? promise : Promise.resolve();
  };
  const output = someOutput(4_000_000);
  guest.agent.write(a, 'stdout', output);
  while (asked === 0) await sleep(5);
  other.agent.write(testId('b'), 'stdout', Buffer.from('still here\n'));
  await harness.sink.until(() => harness.sink.offset(testId('b'), 'stdout') > 0n);
  assert.equal(guest.agent.heldBytes, output.length);
  resolve();
  guest.agent.exit(a, 0);
  await harness.sink.until(() => harness.sink.exits.length > 0);
  assert.equal(harness.sink.content(a, 'stdout').equals(output), true);
});

test('a handler that fails is asked again', async () => {
  await using harness = await GatewayHarness.start();
  const guest = await harness.guest('vm1');
  await startContainer(await harness.attach(guest), a);
  let failures = 2;
  harness.sink.gate = () => (failures-- > 0 ? Promise.reject(new Error('disk')) : Promise.resolve());
  guest.agent.write(a, 'stdout', Buffer.from('line\n'));
  await harness.sink.until(() => harness.sink.offset(a, 'stdout') === 5n);
});
