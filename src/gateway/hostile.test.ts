import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import fc from 'fast-check';
import type { AgentScript } from '../agent/testing/fake-agent.ts';
import { createRequest, GatewayHarness, testId, testLinkKey } from '../agent/testing/harness.ts';
import { describeError, HuskError } from '../base/errors.ts';
import { ConfigureSandboxRequest, type Event, type EventsRequest, Stream } from '../gen/agent/v1/agent.ts';
import { defaultLinkLimits } from './limits.ts';
import { GuestClient } from './link/guest-client.ts';
import { InProcess, RecordedSession } from './testing.ts';

/** More are run by hand after changes of the link: the time of a test is short. */
const mutatedSessions = 200;
const a = testId('a');
const call = { timeoutMs: 10_000 };
type EventsCall = ServerDuplexStream<EventsRequest, Event>;

/** An agent whose stream of events sends this as soon as the stream is there. */
function sends(...events: Event['kind'][]): AgentScript {
  return {
    events: (stream: EventsCall) => {
      stream.on('error', () => undefined);
      stream.on('data', () => undefined);
      setTimeout(() => {
        for (const kind of events) stream.write({ kind });
      }, 100);
    },
  };
}

const output = (change: object = {}): Event['kind'] => ({
  $case: 'output',
  value: { containerId: a, stream: Stream.STREAM_STDOUT, offset: 0n, data: Buffer.from('x\n'), end: false, ...change },
});
const exited = (change: object = {}): Event['kind'] => ({
  $case: 'exited',
  value: { containerId: a, exitCode: 0, oomKilled: false, finishedAtNs: 0n, ...change },
});

const lies: Readonly<Record<string, AgentScript>> = {
  'id that is none': sends(output({ containerId: '../../etc/passwd' })),
  'id of a megabyte': sends(output({ containerId: 'x'.repeat(900_000) })),
  'offset ahead': sends(output({ offset: 1n })),
  'offset repeated': sends(output(), output()),
  'offset of 2^64-1': sends(output({ offset: 2n ** 64n - 1n })),
  'stream that is none': sends(output({ stream: 7 })),
  'chunk over 64 KiB': sends(output({ data: Buffer.alloc(65_537) })),
  'chunk over every limit': sends(output({ data: Buffer.alloc(2_000_000) })),
  'empty chunk': sends(output({ data: Buffer.alloc(0) })),
  'output after its end': sends(output({ end: true }), output({ offset: 2n })),
  'output after the exit': sends(exited(), output()),
  'exit twice': sends(exited(), exited()),
  'exit code 999': sends(exited({ exitCode: 999 })),
  'no event at all': sends(undefined),
  'events of strangers without end': sends(
    ...Array.from({ length: 10_000 }, (_, at) => exited({ containerId: at.toString(16).padStart(64, '0') })),
  ),
};

test('an agent that lies loses its own link, whatever the lie; an honest one beside it does not notice', async () => {
  await using harness = await GatewayHarness.start();
  const honest = await harness.guest('honest');
  const honestAgent = await harness.attach(honest);
  await honestAgent.createContainer(createRequest(testId('b')), call);
  const pid = await harness.hub.gatewayPid();
  for (const [lie, script] of Object.entries(lies)) {
    const vmId = lie.replaceAll(' ', '-');
    const guest = await harness.guest(vmId, script);
    const agent = await harness.attach(guest);
    await agent.createContainer(createRequest(a), call);
    await harness.sink.until(() => harness.sink.lost.some((lost) => lost.vmId === vmId));
    const reason = harness.sink.lost.find((lost) => lost.vmId === vmId)?.reason ?? '';
    assert.match(reason, /agent protocol: /, lie);
    assert.equal(reason.length < 2_000, true, lie);
    await assert.rejects(agent.listContainers(call), /agent protocol/);
    await harness.hub.detach(vmId);
  }
  honest.agent.write(testId('b'), 'stdout', Buffer.from('all well\n'));
  await harness.sink.until(() => harness.sink.offset(testId('b'), 'stdout') === 9n);
  assert.equal(await harness.hub.gatewayPid(), pid);
  assert.equal(harness.sink.lost.length, Object.keys(lies).length);
});

test('answers that no honest agent gives end the link and the call', async () => {
  const replies: Readonly<Record<string, NonNullable<AgentScript['replace']>>> = {
    sample: { configureSandbox: (_call, done) => done(null, { randomSample: Buffer.alloc(3), steps: [] }) },
    user: { createContainer: (_call, done) => done(null, { user: undefined, steps: [] }) },
    list: {
      listContainers: (_call, done) =>
        done(null, { containers: [{ containerId: 'x', state: 'y', exited: undefined }] }),
    },
  };
  await using harness = await GatewayHarness.start();
  for (const [vmId, replace] of Object.entries(replies)) {
    const agent = await harness.attach(await harness.guest(vmId, { replace }));
    await assert.rejects(async () => {
      await agent.listContainers(call);
      await agent.createContainer(createRequest(a), call);
      await agent.configureSandbox(ConfigureSandboxRequest.fromPartial({}), call);
    }, /agent protocol/);
  }
  const nonce: AgentScript['replace'] = {
    hello: (_call, done) =>
      done(null, {
        nonce: Buffer.alloc(0),
        guestImage: '',
        kernelRelease: '',
        ociRuntimeVersion: '',
        configured: true,
      }),
  };
  await assert.rejects(harness.attach(await harness.guest('nonce', { replace: nonce })), /another nonce/);
  const error: AgentScript['replace'] = {
    listContainers: (_call, done) => done({ code: 99 as 2, details: `\u001b[2J${'x'.repeat(4_000)}` }),
  };
  const agent = await harness.attach(await harness.guest('error', { replace: error }));
  await assert.rejects(agent.listContainers(call), (caught) => {
    assert.equal(caught instanceof HuskError && caught.kind, 'unknown');
    return !describeError(caught).includes('\u001b') && describeError(caught).length < 5_000;
  });
});

test('frames that carry nothing end the link once there are too many', async () => {
  await using given = await InProcess.start({ wasteBytes: 1_000_000, wasteBytesPerSecond: 1 });
  const { channel } = await given.guest('vm');
  await given.gateway.attach(
    { id: 'vm', socket: channel.path, linkKey: testLinkKey, generation: 1, resume: [] },
    5_000,
    new AbortController().signal,
  );
  const session = new RecordedSession();
  given.gateway.openSession(session);
  // Type 0x77 means nothing: a receiver must ignore such a frame (RFC 9113, 4.1).
  const frame = Buffer.concat([Buffer.from([0, 0x40, 0, 0x77, 0, 0, 0, 0, 0]), Buffer.alloc(0x4000)]);
  channel.inject(Buffer.concat(Array.from({ length: 100 }, () => frame)));
  const lost = await session.event(0);
  assert.match(lost?.$case === 'linkLost' ? lost.value.reason : '', /carry nothing/);
});

/** What an honest guest sends in a session, recorded at its channel. */
async function recordSession(given: InProcess): Promise<Buffer> {
  const { channel } = await given.guest('recorded');
  const bytes: Buffer[] = [];
  channel.onGuestBytes = (chunk) => bytes.push(chunk);
  const client = new GuestClient(channel.path, defaultLinkLimits, { key: testLinkKey });
  for (let count = 0; count < 3; count += 1)
    await client.unary('hello', { nonce: Buffer.from('n') }, 5_000, new AbortController().signal);
  client.close();
  return Buffer.concat(bytes);
}

test('mutated sessions fail their calls and nothing else, in bounded memory', async () => {
  await using given = await InProcess.start();
  const recorded = await recordSession(given);
  let mutant = recorded;
  const { channel } = await given.guest('mutant', {}, { hostileSession: () => mutant });
  const mutation = fc.array(
    fc.record({
      at: fc.nat({ max: recorded.length - 1 }),
      value: fc.nat({ max: 255 }),
      cut: fc.nat({ max: 40 }),
      insert: fc.uint8Array({ maxLength: 20 }),
    }),
    { minLength: 1, maxLength: 5 },
  );
  const before = process.memoryUsage().rss;
  const limits = { ...defaultLinkLimits, handshakeMs: 500 };
  await fc.assert(
    fc.asyncProperty(mutation, async (changes) => {
      mutant = Buffer.from(recorded);
      for (const { at, value, cut, insert } of changes) {
        if (at < mutant.length) mutant[at] = value;
        mutant = Buffer.concat([mutant.subarray(0, at), insert, mutant.subarray(at + cut)]);
      }
      const client = new GuestClient(channel.path, limits, { key: testLinkKey });
      // Long enough for the bytes to be read; what comes of it is the guest's affair.
      await client.unary('hello', { nonce: Buffer.from('n') }, 15, new AbortController().signal).catch(() => undefined);
      client.close();
    }),
    { numRuns: mutatedSessions },
  );
  assert.equal(process.memoryUsage().rss - before < 256 * 1024 * 1024, true);
});
