import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testLinkKey } from '../agent/testing/harness.ts';
import { isKind } from '../base/errors.ts';
import { Stream } from '../gen/agent/v1/agent.ts';
import { call } from './rpc/call.ts';
import { execSync } from './rpc/exec-sync.ts';
import { InProcess, RecordedSession } from './testing.ts';

type ExecStream = Parameters<NonNullable<NonNullable<Parameters<InProcess['guest']>[1]>['exec']>>[0];

const id = 'a'.repeat(64);
const never = new AbortController().signal;

async function withContainer(given: InProcess, script = {}): Promise<Awaited<ReturnType<InProcess['guest']>>> {
  const guest = await given.guest('vm', script);
  await given.gateway.attach(
    { id: 'vm', socket: guest.channel.path, linkKey: testLinkKey, generation: 1, resume: [] },
    5_000,
    never,
  );
  const value = {
    containerId: id,
    specJson: Buffer.alloc(0),
    layers: [],
    user: undefined,
    tty: false,
    stdin: false,
    stdinOnce: false,
    files: [],
    volumes: [],
    mounts: [],
  };
  await call(given.gateway, { vmId: 'vm', timeoutMs: 5_000n, request: { $case: 'createContainer', value } }, never);
  return guest;
}

const ack = (stream: Stream, offset: bigint): Parameters<InProcess['gateway']['receive']>[0] => ({
  kind: { $case: 'logAck', value: { vmId: 'vm', ack: { containerId: id, stream, offset } } },
});

test('one chunk of a stream is on its way at a time, exits come last, and a new session gets again what was not acknowledged', async () => {
  await using given = await InProcess.start();
  const { agent } = await withContainer(given);
  const first = new RecordedSession();
  given.gateway.openSession(first);
  agent.write(id, 'stdout', Buffer.from('one\n'));
  const chunk = await first.event(0);
  assert.equal(chunk?.$case === 'log' && chunk.value.endOffset, 4n);
  agent.write(id, 'stdout', Buffer.from('two\n'));
  agent.exit(id, 5);
  const second = new RecordedSession();
  given.gateway.openSession(second);
  assert.equal(first.isReplaced, true);
  assert.deepEqual(await second.event(0), chunk);
  given.gateway.closeSession(first);
  given.gateway.receive(ack(Stream.STREAM_STDOUT, 4n));
  const next = await second.event(1);
  assert.equal(next?.$case === 'log' && next.value.startOffset, 4n);
  // An acknowledgement of something else changes nothing.
  given.gateway.receive(ack(Stream.STREAM_STDOUT, 7n));
  given.gateway.receive(ack(Stream.STREAM_STDERR, 8n));
  assert.equal(second.events.length, 2);
  given.gateway.receive(ack(Stream.STREAM_STDOUT, 8n));
  const exited = await second.event(2);
  assert.equal(exited?.$case === 'exited' && exited.value.exited?.exitCode, 5);
  const third = new RecordedSession();
  given.gateway.openSession(third);
  assert.deepEqual(await third.event(0), exited);
  given.gateway.receive({ kind: { $case: 'exitAck', value: { vmId: 'vm', containerId: id } } });
  const fourth = new RecordedSession();
  given.gateway.openSession(fourth);
  assert.deepEqual(
    [first.events.length, second.events.length, third.events.length, fourth.events.length],
    [1, 3, 1, 0],
  );
});

test('without a session a guest is not read beyond a small hold', async () => {
  await using given = await InProcess.start();
  const { agent } = await withContainer(given);
  agent.write(id, 'stdout', Buffer.alloc(8_000_000, 'x'));
  const session = new RecordedSession();
  given.gateway.openSession(session);
  await session.event(0);
  given.gateway.closeSession(session);
  assert.equal(agent.heldBytes, 8_000_000);
  assert.equal(given.gateway.vm('vm').containers.fullerThan(400_000), false);
});

test('ExecSync keeps the first bytes of each stream and reads the command to its end', async () => {
  await using given = await InProcess.start();
  const exec: NonNullable<Parameters<InProcess['guest']>[1]>['exec'] = (stream) => {
    const value = Buffer.alloc(65_536, 'o');
    for (let count = 0; count < 100; count += 1) {
      stream.write({ kind: { $case: 'stdout', value } });
      if (count === 0) stream.write({ kind: { $case: 'stderr', value: Buffer.from('err') } });
    }
    stream.write({ kind: { $case: 'result', value: { exitCode: 9, timedOut: true } } });
    stream.end();
  };
  await withContainer(given, { exec });
  const request = { vmId: 'vm', containerId: id, command: ['x'], timeoutMs: 5_000n, maxOutputBytes: 100_000n };
  const result = await execSync(given.gateway, request, never);
  assert.deepEqual(
    [result.stdout.length, result.stderr.toString(), result.exitCode, result.timedOut],
    [100_000, 'err', 9, true],
  );
});

test('ExecSync calls that keep too much together fail, those within go on, and what they kept is free again', async () => {
  await using given = await InProcess.start({ execBytes: 1_000_000 });
  const held = Promise.withResolvers<void>();
  const writes = (stream: ExecStream, count: number): void => {
    for (let each = 0; each < count; each += 1)
      stream.write({ kind: { $case: 'stdout', value: Buffer.alloc(65_536) } });
  };
  const end = (stream: ExecStream): void => {
    stream.write({ kind: { $case: 'result', value: { exitCode: 0, timedOut: false } } });
    stream.end();
  };
  const exec = (stream: ExecStream & { readonly request: { readonly command: readonly string[] } }): void => {
    const [count, wait] = stream.request.command;
    writes(stream, Number(count));
    if (wait === undefined) end(stream);
    else void held.promise.then(() => end(stream));
  };
  await withContainer(given, { exec });
  const run = (...command: string[]): ReturnType<typeof execSync> =>
    execSync(
      given.gateway,
      { vmId: 'vm', containerId: id, command, timeoutMs: 0n, maxOutputBytes: 10_000_000n },
      never,
    );
  // Either fits alone: the one whose output comes later fails, while the other waits.
  const both = [run('10', 'wait'), run('14', 'wait')] as const;
  const failure = await Promise.race(both).then(
    () => undefined,
    (caught: unknown) => caught,
  );
  assert.ok(isKind(failure, 'resource-exhausted'), String(failure));
  held.resolve();
  const ends = await Promise.allSettled(both);
  assert.deepEqual(ends.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected']);
  assert.equal((await run('14')).stdout.length, 14 * 65_536);
});

test('an exec that never ends is cancelled with its caller', async () => {
  await using given = await InProcess.start();
  const cancelled = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  await withContainer(given, {
    exec: (stream: { on(event: 'cancelled', listener: () => void): unknown }) => {
      stream.on('cancelled', () => cancelled.resolve());
      started.resolve();
    },
  });
  const controller = new AbortController();
  const request = { vmId: 'vm', containerId: id, command: ['x'], timeoutMs: 0n, maxOutputBytes: 1n };
  const running = execSync(given.gateway, request, controller.signal);
  await started.promise;
  controller.abort();
  await assert.rejects(running, (caught) => isKind(caught, 'cancelled'));
  await cancelled.promise;
});

test('a link that is dead although nothing closed is noticed, and made anew', async () => {
  await using given = await InProcess.start({ keepaliveMs: 100, keepaliveTimeoutMs: 200 });
  const { agent, channel } = await withContainer(given);
  const session = new RecordedSession();
  given.gateway.openSession(session);
  channel.freeze();
  agent.write(id, 'stdout', Buffer.from('after all\n'));
  await channel.untilSessions(2);
  const chunk = await session.event(0);
  assert.match(chunk?.$case === 'log' ? chunk.value.lines.toString() : '', /stdout F after all\n$/);
});

test('a channel that is gone is a lost link within the limits, and a call that waits for it fails', async () => {
  await using given = await InProcess.start({
    keepaliveMs: 100,
    keepaliveTimeoutMs: 200,
    reconnectMs: 400,
    handshakeMs: 200,
  });
  const { channel } = await withContainer(given);
  const session = new RecordedSession();
  given.gateway.openSession(session);
  const frozen = given.gateway.vm('vm');
  await channel.close();
  const running = frozen.hello(10_000, never);
  const lost = await session.event(0);
  assert.equal(lost?.$case, 'linkLost');
  await assert.rejects(running, (caught) => isKind(caught, 'unavailable'));
  assert.throws(() => given.gateway.vm('other'), /not attached/);
});

test('a container whose output nobody may send any more is forgotten quietly', async () => {
  await using given = await InProcess.start();
  const { agent } = await withContainer(given);
  const session = new RecordedSession();
  given.gateway.openSession(session);
  given.gateway.vm('vm').containers.remove(id);
  agent.write(id, 'stdout', Buffer.from('late\n'));
  agent.exit(id, 0);
  await given.gateway.vm('vm').hello(5_000, never);
  assert.equal(session.events.length, 0);
});
