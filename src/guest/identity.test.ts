import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigureSandboxRequest } from '../gen/agent/v1/agent.ts';
import { configureBatch, sysctlPath } from './identity.ts';

const places = {
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
const lines = (change: object = {}, nic: string | undefined = 'eth0') =>
  configureBatch(request(change), places, nic).map(({ name, args, mayFail }) =>
    `${mayFail ? '-' : ''}${name} ${args.join(' ')}`.trim(),
  );

test('the batch mixes entropy in first and proves it last, and routes on the link come before gateways', () => {
  const batch = lines();
  assert.equal(batch[0], `entropy ${'07'.repeat(64)}`);
  assert.equal(batch.at(-1), 'random 32');
  assert.deepEqual(batch.slice(8, 13), [
    'ifmac eth0 02:00:00:00:00:01',
    'ifmtu eth0 1400',
    'addr eth0 10.0.0.2/24',
    'route eth0 10.0.0.1/32',
    'route eth0 0.0.0.0/0 10.0.0.1',
  ]);
  assert.ok(batch.includes('write /proc/sys/net/core/somaxconn 420 1'));
});

test('what is not wished for is left out', () => {
  const batch = lines({ interface: undefined, resolvConf: '', wallClockNs: 0n });
  assert.ok(!batch.some((line) => /^-?(if|addr|route|clock)|resolv\.conf/.test(line)));
  // What is as the guest has it from its start needs no call.
  const plain = { name: 'eth0', mac: '02:00:00:00:00:01', mtu: 1500, addresses: ['fd00::2/64'], routes: [] };
  const usual = lines({ interface: plain, shmSizeBytes: 64n * 1024n * 1024n });
  assert.ok(!usual.some((line) => /^(ifmtu|mount shm)/.test(line)));
  assert.ok(usual.includes('addr eth0 fe80::0000:00ff:fe00:0001/64'), usual.join('\n'));
  const large = lines({ shmSizeBytes: 1n });
  assert.ok(large.includes('mount shm /r/shm tmpfs remount,nosuid,nodev,noexec mode=1777,size=1'));
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
  for (const nic of [undefined, 'ens1'])
    assert.throws(() => configureBatch(request(), places, nic), { kind: 'failed-precondition' });
});

test('a sysctl with a dot in its interface is written with slashes', () => {
  assert.equal(sysctlPath('net/ipv4/conf/eth0.100/forwarding'), '/proc/sys/net/ipv4/conf/eth0.100/forwarding');
  for (const key of ['', 'a', '.a.b', 'a..b', '/net/x', 'a/./b', 'a/.', 'a b.c'])
    assert.throws(() => sysctlPath(key), key);
});
