import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loopDelays, parseBuckets } from './loop-delay.ts';

test('the buckets of the event-loop delay are found among other metrics', () => {
  const text = [
    'husk_event_loop_delay_seconds_bucket{le="0.001"} 5',
    'husk_event_loop_delay_seconds_bucket{le="+Inf"} 9',
    'husk_other_bucket{le="1"} 3',
  ].join('\n');
  assert.deepEqual(parseBuckets(text), [
    { le: 1, count: 5 },
    { le: Number.POSITIVE_INFINITY, count: 9 },
  ]);
});

test('an endpoint that is not there is no error', async () => {
  assert.equal(await loopDelays('http://127.0.0.1:1/metrics'), undefined);
});
