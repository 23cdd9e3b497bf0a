import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { Readable, Writable } from 'node:stream';
import { after, before, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { systemClock } from '../../base/clock.ts';
import { silentLog } from '../../base/log.ts';
import { fakeStreamingRuntime } from '../../streaming/fake-runtime.ts';
import { type StreamingServer, startStreamingServer } from '../../streaming/server.ts';
import { attachStreams } from './attach.ts';

let server: StreamingServer;
before(async () => {
  const options = { runtime: fakeStreamingRuntime, address: '127.0.0.1', port: 0, clock: systemClock, log: silentLog };
  server = await startStreamingServer(options);
});
after(() => server.close());

const never = new AbortController().signal;
/** What a command of the fake is joined by. */
function urlOf(command: string[], tty = false): string {
  const streams = { tty, stdin: true, stdout: true, stderr: !tty };
  return server.url({ route: 'exec', target: { sandboxId: 's', containerId: 'c', command, ...streams } });
}

/** Keeps what it is given, one chunk a turn of the event loop. */
function collector(): { sink: Writable; text: () => Buffer } {
  const chunks: Buffer[] = [];
  const write = (chunk: Buffer, _encoding: unknown, done: () => void): void => {
    chunks.push(chunk);
    void setImmediate().then(done);
  };
  return { sink: new Writable({ highWaterMark: 1024, write }), text: () => Buffer.concat(chunks) };
}

test('input goes to its end, and all output has come when it is done, however slowly it is taken', async () => {
  const input = randomBytes(2 * 1024 * 1024);
  const [out, err] = [collector(), collector()];
  const streams = { stdin: Readable.from([input]), stdout: out.sink, stderr: err.sink };
  const attachment = await attachStreams(urlOf(['cat']), streams, never);
  await attachment.done;
  assert.ok(out.text().equals(input));
  assert.equal(err.text().length, 0);
});

test('the outputs stay apart, and a terminal’s size is told', async () => {
  const [out, err] = [collector(), collector()];
  const failing = await attachStreams(
    urlOf(['exit', '0', 'oops']),
    { stdin: undefined, stdout: out.sink, stderr: err.sink },
    never,
  );
  await failing.done;
  assert.deepEqual([out.text().toString(), err.text().toString()], ['', 'oops']);
  const size = collector();
  const terminal = await attachStreams(
    urlOf(['size'], true),
    { stdin: undefined, stdout: size.sink, stderr: size.sink },
    never,
  );
  terminal.resize(77, 33);
  await terminal.done;
  assert.equal(size.text().toString(), '77x33');
});

test('a broken output ends it with the output’s own error', async () => {
  const broken = new Writable({
    write: (_chunk, _encoding, done) => done(Object.assign(new Error('gone'), { code: 'EPIPE' })),
  });
  const attachment = await attachStreams(
    urlOf(['flood']),
    { stdin: undefined, stdout: broken, stderr: collector().sink },
    never,
  );
  await assert.rejects(attachment.done, { code: 'EPIPE' });
});

test('a connection that breaks, or that the server refuses, is an error', async () => {
  const [out, err] = [collector(), collector()];
  const streams = { stdin: undefined, stdout: out.sink, stderr: err.sink };
  const attachment = await attachStreams(urlOf(['flood']), streams, never);
  attachment.close();
  await assert.rejects(attachment.done, { kind: 'unavailable', message: /streams of the container/ });
  await assert.rejects(attachStreams(`${server.address}/exec/none`, streams, never), { kind: 'unavailable' });
});
