import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigureSandboxRequest } from '../gen/agent/v1/agent.ts';
import { configureBatch, sysctlPath } from './identity.ts';

const places = {
  dataDisk: '/dev/vdc',
  dataFolder: '/r/data',
  shmFolder: '/r/shm',
  bootIdFile: '/r/boot_id',
  etcDir: '/e',
  configuredFile: '/r/configured',
};
const request = (change: object = {}) =>
  ConfigureSandboxRequest.fromPartial({
    sandboxId: 'a',
    entropy: Buffer.alloc(64, 7),
    bootId: '01234567-89ab-cdef-0123-456789abcdef',
    machineId: '0'.repeat(32),
    hostname: 'pod',
    wallClockNs: 5n,
    interface: {
      name: 'eth0',
      mac: '02:00:00:00:00:01',
      mtu: 1400,
      addresses: ['10.0.0.2/24'],
      routes: [
        { destination: '0.0.0.0/0', gateway: '10.0.0.1' },
        { destination: '10.0.0.1/32', gateway: '' },
      ],
    },
    resolvConf: 'nameserver 1.1.1.1\n',
    sysctls: { 'net.core.somaxconn': '1' },
    ...change,
  });
const lines = (change: object = {}, nic: string | undefined = 'ens1') =>
  configureBatch(request(change), places, nic).map(({ name, args, mayFail }) =>
    `${mayFail ? '-' : ''}${name} ${args.join(' ')}`.trim(),
  );

test('the batch mixes entropy in first and proves it last, and routes on the link come before gateways', () => {
  const batch = lines();
  assert.equal(batch[0], `entropy ${'07'.repeat(64)}`);
  assert.equal(batch.at(-1), 'random 32');
  assert.deepEqual(batch.slice(8, 16), [
    'ifname ens1 eth0',
    'ifmac eth0 02:00:00:00:00:01',
    'ifmtu eth0 1400',
    '-write /proc/sys/net/ipv6/conf/eth0/accept_ra 420 0',
    'ifup eth0',
    'addr eth0 10.0.0.2/24',
    'route eth0 10.0.0.1/32',
    'route eth0 0.0.0.0/0 10.0.0.1',
  ]);
  assert.ok(batch.includes('write /proc/sys/net/core/somaxconn 420 1'));
  assert.ok(batch.includes('mount shm /r/shm tmpfs nosuid,nodev,noexec mode=1777,size=67108864'));
});

test('what is not wished for is left out', () => {
  const batch = lines({ interface: undefined, resolvConf: '', wallClockNs: 0n });
  assert.ok(!batch.some((line) => /^-?(if|addr|route|clock)|resolv\.conf/.test(line)));
  assert.ok(!lines({}, 'eth0').some((line) => line.startsWith('ifname')));
});

test('fields that reach files or the kernel are checked', () => {
  const bad = [
    { entropy: Buffer.alloc(16) },
    { entropy: Buffer.alloc(257) },
    { bootId: 'x' },
    { machineId: '0'.repeat(31) },
    { hostname: 'a\nb' },
    { hostname: '' },
    { hostname: 'a'.repeat(65) },
    { resolvConf: 'a\0' },
    { sysctls: { 'net/../../etc/passwd': '1' } },
    { sysctls: { hostname: '1' } },
    { interface: { name: '../x', mac: '', mtu: 1, addresses: [], routes: [] } },
  ];
  for (const change of bad)
    assert.throws(() => lines(change), { kind: 'invalid-argument' }, JSON.stringify(Object.keys(change)));
  assert.throws(() => configureBatch(request(), places, undefined), { kind: 'failed-precondition' });
});

test('a sysctl with a dot in its interface is written with slashes', () => {
  assert.equal(sysctlPath('net/ipv4/conf/eth0.100/forwarding'), '/proc/sys/net/ipv4/conf/eth0.100/forwarding');
  for (const key of ['', 'a', '.a.b', 'a..b', '/net/x', 'a/./b', 'a/.', 'a b.c'])
    assert.throws(() => sysctlPath(key), key);
});
