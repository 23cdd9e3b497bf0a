import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ContainerConfig, ListPodSandboxRequest, PodSandboxFilter } from '../gen/cri/v1/api.ts';
import { decodeRequest } from './decode.ts';

const decode = (bytes: Buffer): ListPodSandboxRequest => ListPodSandboxRequest.decode(bytes);
const encode = (labels: Record<string, string>): Buffer =>
  Buffer.from(ListPodSandboxRequest.encode({ filter: { id: '', state: undefined, labelSelector: labels } }).finish());

test('whatever text a client sends comes out as it went in', () => {
  const key = fc.string({ unit: 'binary' }).filter((text) => text !== '__proto__' && text.isWellFormed());
  const value = fc.string({ unit: 'binary' }).filter((text) => text.isWellFormed());
  fc.assert(
    fc.property(fc.dictionary(key, value), (labels) => {
      const decoded = decodeRequest(decode, encode(labels));
      assert.ok('request' in decoded);
      assert.deepEqual({ ...decoded.request.filter?.labelSelector }, { ...labels });
    }),
  );
});

test('bytes that are no text are refused, the sign for them is not', () => {
  assert.ok('request' in decodeRequest(decode, encode({ a: '\ufffd\ufffd' })));
  const bytes = encode({ a: '\ufffdab' });
  const at = bytes.indexOf('ab');
  bytes[at] = 0xff;
  const decoded = decodeRequest(decode, bytes);
  assert.ok('error' in decoded);
  assert.match(decoded.error.message, /not valid UTF-8/);
});

test('the value of a variable may be any bytes', () => {
  const config = ContainerConfig.create({ envs: [{ key: 'K', value: Buffer.from([0xff, 0xfe]) }] });
  const decoded = decodeRequest(
    (bytes) => ContainerConfig.decode(bytes),
    Buffer.from(ContainerConfig.encode(config).finish()),
  );
  assert.ok('request' in decoded);
  assert.deepEqual([...(decoded.request.envs[0]?.value ?? [])], [0xff, 0xfe]);
});

test('a key that would set a prototype is refused', () => {
  const entry = Buffer.concat([Buffer.from([0x0a, 9]), Buffer.from('__proto__'), Buffer.from([0x12, 1, 0x78])]);
  const filter = Buffer.concat([Buffer.from([0x1a, entry.length]), entry]);
  const decoded = decodeRequest(decode, Buffer.concat([Buffer.from([0x0a, filter.length]), filter]));
  assert.ok('error' in decoded);
  assert.equal(decoded.error.kind, 'invalid-argument');
});

test('no bytes crash the decoder', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const decoded = decodeRequest(decode, Buffer.from(bytes));
      if ('error' in decoded) assert.equal(decoded.error.kind, 'invalid-argument');
    }),
    { numRuns: 2000 },
  );
  assert.ok('error' in decodeRequest(decode, Buffer.alloc(1_000_000, 0x7b)));
});

test('fields that are newer than our wire live on', () => {
  const newer = Buffer.concat([
    Buffer.from(PodSandboxFilter.encode(PodSandboxFilter.create({ id: 'a' })).finish()),
    Buffer.from([0xfa, 0x06, 1, 0x78]),
  ]);
  const again = Buffer.from(PodSandboxFilter.encode(PodSandboxFilter.decode(newer)).finish());
  assert.deepEqual(again, newer);
});
