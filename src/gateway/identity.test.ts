/** A new VM gets its identity with the handshake. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testLinkKey } from '../agent/testing/harness.ts';
import { isKind } from '../base/errors.ts';
import { ConfigureSandboxRequest } from '../gen/agent/v1/agent.ts';
import { configureBatch, guestNic, guestPlaces } from '../guest/identity.ts';
import { encodeBatch } from '../guest/sys-batch.ts';
import { InProcess, RecordedSession } from './testing.ts';

const never = new AbortController().signal;
const configure = ConfigureSandboxRequest.fromPartial({
  sandboxId: 'a',
  entropy: Buffer.alloc(64, 7),
  bootId: '01234567-89ab-cdef-0123-456789abcdef',
  machineId: '0'.repeat(32),
  hostname: 'pod',
});
const ops = configureBatch(configure, guestPlaces, guestNic);

const result = (status: 'k' | 'e', bytes: Buffer): Buffer => {
  const head = Buffer.alloc(5);
  head.write(status, 'latin1');
  head.writeUInt32LE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
};
/** What husk-sys says when all went well: the last operation gives random bytes. */
const done = (sample: Buffer): Buffer =>
  Buffer.concat(ops.map((_, index) => result('k', index === ops.length - 1 ? sample : Buffer.alloc(0))));

const attach = (given: InProcess, socket: string, timeoutMs = 5_000): ReturnType<InProcess['gateway']['attachNew']> =>
  given.gateway.attachNew({ id: 'vm', socket, linkKey: testLinkKey, generation: 1, configure }, timeoutMs, never);

test('a new VM takes its identity before a byte reaches its agent, and its calls wait for the agent', async () => {
  await using given = await InProcess.start();
  let [batch, sessionsThen] = [Buffer.alloc(0), -1];
  const { channel } = await given.guest(
    'vm',
    {},
    {
      identity: (bytes) => {
        batch = Buffer.from(bytes);
        sessionsThen = channel.sessions;
        return done(Buffer.alloc(32, 9));
      },
    },
  );
  const { randomSample } = await attach(given, channel.path);
  assert.deepEqual(Buffer.from(randomSample), Buffer.alloc(32, 9));
  assert.deepEqual(batch, encodeBatch(ops).subarray(4));
  assert.equal(sessionsThen, 0);
  const answer = await given.gateway.vm('vm').hello(5_000, never);
  assert.equal(answer.configured, false);
});

test('a link that breaks later is made again without a second identity', async () => {
  await using given = await InProcess.start();
  let batches = 0;
  const { channel } = await given.guest('vm', {}, { identity: () => ((batches += 1), done(Buffer.alloc(32, 9))) });
  await attach(given, channel.path);
  await given.gateway.vm('vm').hello(5_000, never);
  channel.cut();
  await channel.untilSessions(2);
  await given.gateway.vm('vm').hello(5_000, never);
  assert.equal(batches, 1);
});

test('what the guest could not do is the error, and the VM is not attached', async () => {
  await using given = await InProcess.start();
  const refused = result('e', Buffer.from('2 mount "/run/husk/data-disk": No such file or directory'));
  const answers = [
    [Buffer.concat([result('k', Buffer.alloc(0)), refused]), /mount "\/run\/husk\/data-disk": No such file/],
    [Buffer.alloc(0), /could not run the batch/],
    [done(Buffer.alloc(31)), /random sample of 31 bytes/],
    [Buffer.from('nonsense'), /begins no result/],
  ] as const;
  for (const [index, [answer, message]] of answers.entries()) {
    const { channel } = await given.guest(`vm${index}`, {}, { identity: () => answer });
    await assert.rejects(attach(given, channel.path), message);
    assert.throws(() => given.gateway.vm('vm'), /not attached/);
  }
});

test('an agent that does not answer after the identity is a lost link; no identity in time is an error', async () => {
  await using given = await InProcess.start({ handshakeMs: 400 });
  const session = new RecordedSession();
  given.gateway.openSession(session);
  const faults = { identity: () => done(Buffer.alloc(32, 9)) };
  const { channel } = await given.guest('vm', { replace: { hello: () => {} } }, faults);
  await attach(given, channel.path, 800);
  const event = await session.event(0);
  assert.equal(event?.$case === 'linkLost' && event.value.vmId, 'vm');
  const silent = await given.guest('silent');
  await assert.rejects(attach(given, silent.channel.path, 2_000), (error) => !isKind(error, 'internal'));
});
