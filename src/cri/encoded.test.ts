import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ListPodSandboxResponse, PodSandbox } from '../gen/cri/v1/api.ts';
import { EncodedEntries } from './encoded.ts';

interface Pod {
  readonly id: string;
}

function counted() {
  const encoded: string[] = [];
  const encode = (record: Pod): Uint8Array => {
    encoded.push(record.id);
    return PodSandbox.encode(PodSandbox.fromPartial({ id: record.id })).finish();
  };
  return { entries: new EncodedEntries<Pod>(), encode, encoded };
}

test('the bytes are those of the whole message, and a record that is there still is encoded once', () => {
  const { entries, encode, encoded } = counted();
  const pods = ['a', 'b'.repeat(300)].map((id) => ({ id }));
  const { bytes } = entries.of(pods, { encode });
  const whole = ListPodSandboxResponse.fromPartial({ items: pods });
  assert.deepEqual(bytes, Buffer.from(ListPodSandboxResponse.encode(whole).finish()));
  assert.deepEqual(entries.of(pods, { encode }).bytes, bytes);
  assert.equal(encoded.length, 2);
  entries.of([{ id: 'a' }], { encode });
  assert.equal(encoded.length, 3, 'a changed record is another one');
});

test('what depends on other things is encoded each time', () => {
  const { entries, encode, encoded } = counted();
  const pod = { id: 'a' };
  for (let round = 0; round < 3; round += 1) entries.of([pod], { encode, isLasting: () => false });
  assert.equal(encoded.length, 3);
});
