import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { OutputRing } from './ring.ts';

test('what is read is what was written, at its offset, until it is acknowledged', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('write' as const), data: fc.uint8Array({ maxLength: 9_000 }) }),
    fc.record({ kind: fc.constant('acknowledge' as const), share: fc.double({ min: 0, max: 1.2, noNaN: true }) }),
    fc.record({
      kind: fc.constant('read' as const),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
      max: fc.nat(12_000),
    }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 20_000 }), (steps, cap) => {
      const ring = new OutputRing(cap);
      let all = Buffer.alloc(0);
      let start = 0;
      for (const next of steps) {
        if (next.kind === 'write') {
          const taken = ring.write(next.data);
          assert.equal(taken, Math.min(next.data.length, cap - (all.length - start)));
          all = Buffer.concat([all, next.data.subarray(0, taken)]);
        } else if (next.kind === 'acknowledge') {
          const to = Math.floor(start + (all.length - start) * next.share);
          ring.acknowledge(BigInt(to));
          start = Math.min(to, all.length);
        } else {
          const from = Math.floor(all.length * next.share);
          const { offset, data } = ring.read(BigInt(from), next.max);
          assert.equal(offset, BigInt(Math.max(from, start)));
          assert.deepEqual(data, all.subarray(Number(offset), Number(offset) + next.max));
        }
        assert.equal(ring.start, BigInt(start));
        assert.equal(ring.end, BigInt(all.length));
        assert.equal(ring.free, cap - (all.length - start));
      }
    }),
  );
});

test('an acknowledgement of the past or of the future moves nothing out of the window', () => {
  const ring = new OutputRing(10);
  ring.write(Buffer.from('0123456789ab'));
  ring.acknowledge(4n);
  ring.acknowledge(2n);
  assert.deepEqual(ring.read(0n, 100), { offset: 4n, data: Buffer.from('456789') });
  ring.acknowledge(99n);
  assert.equal(ring.start, 10n);
});
