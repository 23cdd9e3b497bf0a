import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { connect as connectHttp2, type IncomingHttpHeaders } from 'node:http2';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { status } from '@grpc/grpc-js';
import { isErrno, isKind } from '../base/errors.ts';
import { podConfig, startFixture } from './fixture.ts';
import { prepareSocketPath } from './socket.ts';

async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'husk-socket-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

test('only the owner can reach the socket, and it is gone with the server', async () => {
  const fixture = await startFixture();
  assert.equal((await stat(fixture.socket)).mode & 0o777, 0o600);
  assert.equal((await stat(dirname(fixture.socket))).mode & 0o777, 0o700);
  const { socket } = fixture;
  await fixture[Symbol.asyncDispose]();
  await assert.rejects(stat(socket), (error) => isErrno(error, 'ENOENT'));
});

test('a socket that somebody listens on is left alone', async () => {
  await using fixture = await startFixture();
  await assert.rejects(prepareSocketPath(fixture.socket), (error) => isKind(error, 'already-exists'));
  await fixture.call('version', { version: '' });
});

test('a stale socket is taken away', async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'stale.sock');
  const { promise, resolve } = Promise.withResolvers<void>();
  const listener = createServer().listen(path, resolve);
  await promise;
  // Node unlinks on close; a killed daemon does not: put the name back under another one.
  await rename(path, `${path}.kept`);
  await new Promise((done) => listener.close(done));
  await rename(`${path}.kept`, path);
  await prepareSocketPath(path);
  await assert.rejects(stat(path), (error) => isErrno(error, 'ENOENT'));
});

test('a folder is made closed; one that is open to others, a file in the way, and a bad path are refused', async () => {
  await using folder = await temporaryFolder();
  const fresh = join(folder.path, 'a', 'b', 'husk.sock');
  await prepareSocketPath(fresh);
  assert.equal((await stat(dirname(fresh))).mode & 0o777, 0o700);
  const open = join(folder.path, 'open');
  await mkdir(open);
  await chmod(open, 0o755);
  await assert.rejects(prepareSocketPath(join(open, 's')), (error) => isKind(error, 'failed-precondition'));
  await chmod(open, 0o711);
  await writeFile(join(open, 'file'), '');
  await assert.rejects(prepareSocketPath(join(open, 'file')), (error) => isKind(error, 'failed-precondition'));
  for (const bad of ['husk.sock', '', `/${'x'.repeat(200)}`, '/tmp/a\0b']) {
    await assert.rejects(prepareSocketPath(bad), (error) => isKind(error, 'invalid-argument'), bad);
  }
});

test('closing ends calls that are under way', async () => {
  const fixture = await startFixture();
  const open = fixture.node.gate('runSandbox');
  const running = fixture.call('runPodSandbox', { config: podConfig(), runtimeHandler: '' });
  const failed = assert.rejects(running, { code: status.CANCELLED });
  while (fixture.node.calls.length === 0) await new Promise(setImmediate);
  await fixture[Symbol.asyncDispose]();
  await failed;
  open();
  assert.ok(fixture.node.clean);
});

test('a compressed message may not grow beyond what a plain one may have', async () => {
  await using fixture = await startFixture();
  const packed = gzipSync(Buffer.alloc(64 * 1024 * 1024));
  const head = Buffer.alloc(5);
  head[0] = 1;
  head.writeUInt32BE(packed.length, 1);
  const session = connectHttp2('http://localhost', { createConnection: () => createConnection(fixture.socket) });
  try {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const request = session.request({
      ':method': 'POST',
      ':path': '/runtime.v1.RuntimeService/RunPodSandbox',
      'content-type': 'application/grpc',
      te: 'trailers',
      'grpc-encoding': 'gzip',
    });
    const onHeaders = (headers: IncomingHttpHeaders): void => {
      if (headers['grpc-status'] !== undefined) resolve(headers['grpc-status'].toString());
    };
    request.on('response', onHeaders).on('trailers', onHeaders).on('error', reject).resume();
    request.end(Buffer.concat([head, packed]));
    assert.equal(await promise, String(status.RESOURCE_EXHAUSTED));
    assert.deepEqual(fixture.node.calls, []);
  } finally {
    session.destroy();
  }
});
