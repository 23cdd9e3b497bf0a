import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseNetUse } from './interface-use.ts';

const dev = [
  'Inter-|   Receive                                                |  Transmit',
  ' face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed',
  '    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0',
  '  eth0: 18446744073709551615 12    3    4    0     0          0         0      456      13    5    6    0     0       0          0',
].join('\n');

test('counters of several namespaces, without loopback; one that is gone is left out', () => {
  const found = parseNetUse(`/run/netns/a\n${dev}\n.\n/run/netns/gone\n.\n/run/netns/b\n${dev}\n.\n`, ['lo']);
  assert.deepEqual([...found.keys()], ['/run/netns/a', '/run/netns/b']);
  assert.deepEqual(found.get('/run/netns/a'), [
    {
      ...{ name: 'eth0', rxBytes: 2n ** 64n - 1n, rxPackets: 12n, rxErrors: 3n, rxDropped: 4n },
      ...{ txBytes: 456n, txPackets: 13n, txErrors: 5n, txDropped: 6n },
    },
  ]);
});

test('nothing asked, nothing found', () => {
  assert.deepEqual(parseNetUse('', []), new Map());
});
