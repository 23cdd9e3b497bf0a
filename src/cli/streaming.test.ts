import assert from 'node:assert/strict';
import { test } from 'node:test';
import { streamingSettings } from './streaming.ts';

const flags = {
  streamingServerAddr: '127.0.0.1',
  streamingServerPort: 0,
  streamingServerTlsCert: '',
  streamingServerTlsKey: '',
};

test('loopback needs no TLS', async () => {
  assert.deepEqual(await streamingSettings(flags), { address: '127.0.0.1', port: 0 });
  assert.deepEqual(await streamingSettings({ ...flags, streamingServerAddr: '::1' }), { address: '::1', port: 0 });
});

for (const address of ['0.0.0.0', '10.1.2.3', '::', '::ffff:10.0.0.1']) {
  test(`${address} without TLS is refused`, async () => {
    await assert.rejects(streamingSettings({ ...flags, streamingServerAddr: address }), /is not encrypted/);
  });
}

test('a name is no address, half a pair of files no TLS, and a missing file is named', async () => {
  await assert.rejects(streamingSettings({ ...flags, streamingServerAddr: 'localhost' }), /must be an IP address/);
  await assert.rejects(streamingSettings({ ...flags, streamingServerTlsCert: '/c' }), /one without the other/);
  const files = { streamingServerTlsCert: '/none/c', streamingServerTlsKey: '/none/k' };
  await assert.rejects(streamingSettings({ ...flags, ...files }), /read "\/none\/c"/);
});

test('with TLS any address will do', async () => {
  const files = { streamingServerTlsCert: import.meta.filename, streamingServerTlsKey: import.meta.filename };
  const { address, tls } = await streamingSettings({ ...flags, ...files, streamingServerAddr: '0.0.0.0' });
  assert.equal(address, '0.0.0.0');
  assert.match(tls?.cert ?? '', /streamingSettings/);
});
