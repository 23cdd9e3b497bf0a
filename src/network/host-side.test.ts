import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { linkLocal } from '../base/link-local.ts';
import { bandwidthOf } from './bandwidth.ts';
import { parseResult } from './cni/result.ts';
import { parsePodCidrs, renderTemplate } from './pod-cidr.ts';
import { addressBits, readPodInterface } from './pod-interface.ts';
import { tapRuleset } from './tap/ruleset.ts';

const link = (addresses: [family: string, local: string, prefixlen: number][]): string =>
  JSON.stringify([
    {
      ifname: 'eth0',
      mtu: 1400,
      address: '02:00:00:00:00:0a',
      addr_info: [
        ...addresses.map(([family, local, prefixlen]) => ({ family, local, prefixlen, scope: 'global' })),
        { family: 'inet6', local: 'fe80::a', prefixlen: 64, scope: 'link' },
      ],
    },
  ]);
const told = parseResult('{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.2/24"}],"dns":{"nameservers":["10.1.0.1"]}}');
const bare = parseResult('{"cniVersion":"1.0.0"}');

describe('the pod’s interface', () => {
  it('has the result’s addresses, and the kernel’s MAC, MTU and routes', () => {
    const routes = JSON.stringify([
      { dst: 'default', gateway: '10.1.0.1', flags: [] },
      { dst: '10.1.0.0/24', protocol: 'kernel', scope: 'link', flags: [] },
      { type: 'local', dst: '10.1.0.2', table: 'local', protocol: 'kernel' },
      { type: 'multicast', dst: 'ff00::/8', table: 'local', protocol: 'kernel' },
    ]);
    assert.deepEqual(readPodInterface('eth0', told, `${link([['inet', '10.1.0.2', 24]])}\n${routes}\n`), {
      name: 'eth0',
      mac: '02:00:00:00:00:0a',
      mtu: 1400,
      addresses: ['10.1.0.2/24'],
      routes: [{ destination: '0.0.0.0/0', gateway: '10.1.0.1' }],
      dns: { nameservers: ['10.1.0.1'], searches: [], options: [] },
    });
  });

  it('gives an address no subnet where the plugin took the subnet’s route away, and neighbours come first', () => {
    const routes = JSON.stringify([
      { dst: 'default', gateway: '10.1.0.1' },
      { dst: '10.1.0.0/24', gateway: '10.1.0.1', prefsrc: '10.1.0.2' },
      { dst: '10.1.0.1', scope: 'link', prefsrc: '10.1.0.2' },
    ]);
    const read = readPodInterface('eth0', told, `${link([['inet', '10.1.0.2', 24]])}\n${routes}`);
    assert.deepEqual(read.addresses, ['10.1.0.2/32']);
    assert.deepEqual(read.routes, [
      { destination: '10.1.0.1/32', gateway: '' },
      { destination: '0.0.0.0/0', gateway: '10.1.0.1' },
      { destination: '10.1.0.0/24', gateway: '10.1.0.1' },
    ]);
  });

  it('takes the kernel’s addresses when the result has none, both families', () => {
    const routes = JSON.stringify([
      { dst: '10.1.0.0/24', protocol: 'kernel' },
      { dst: 'fd00::/64', protocol: 'kernel', pref: 'medium' },
      { dst: 'default', gateway: 'fd00::1', pref: 'medium' },
      { dst: 'default', pref: 'medium' },
    ]);
    const addresses: [string, string, number][] = [
      ['inet', '10.1.0.2', 24],
      ['inet6', 'fd00::2', 64],
    ];
    const read = readPodInterface('eth0', bare, `${link(addresses)}\n${routes}`);
    assert.deepEqual(read.addresses, ['10.1.0.2/24', 'fd00::2/64']);
    assert.deepEqual(read.routes, [
      { destination: '::/0', gateway: '' },
      { destination: '::/0', gateway: 'fd00::1' },
    ]);
  });

  it('is refused without an address, or without an interface', () => {
    assert.throws(() => readPodInterface('eth0', bare, `${link([])}\n[]`), { kind: 'internal', message: /no address/ });
    assert.throws(() => readPodInterface('eth1', bare, `${link([])}\n[]`), {
      kind: 'internal',
      message: /no interface "eth1"/,
    });
  });

  const bits: [string, bigint][] = [
    ['10.0.0.1', 0x0a000001n],
    ['::', 0n],
    ['::1', 1n],
    ['fd00::2', (0xfd00n << 112n) | 2n],
    ['::ffff:10.0.0.1', 0xffff0a000001n],
    ['1:2:3:4:5:6:7:8', 0x00010002000300040005000600070008n],
  ];
  for (const [ip, number] of bits) it(`${ip} as a number`, () => assert.equal(addressBits(ip), number));
});

describe('the tap’s ruleset', () => {
  const joint = { interfaceName: 'eth0', tapName: 'tap0', mac: '02:00:00:00:00:0a', addresses: ['10.1.0.2/24'] };

  it('has no rule that lets IPv6 out when the pod has no IPv6 address, and none for IPv4 likewise', () => {
    assert.doesNotMatch(tapRuleset(joint, 'fresh'), /ip6/);
    assert.doesNotMatch(tapRuleset({ ...joint, addresses: ['fd00::2/64'] }, 'fresh'), /arp|ether type ip /);
  });

  it('refuses by default, in both directions', () => {
    assert.equal(tapRuleset(joint, 'fresh').match(/policy drop/g)?.length, 2);
  });

  it('makes the link-local address as the kernel does', () => {
    assert.equal(linkLocal('5e:24:ab:74:71:f1'), 'fe80::5c24:abff:fe74:71f1');
  });

  const bad: [string, object][] = [
    ['an interface name that ends the string', { interfaceName: 'e"; drop' }],
    ['a MAC that is none', { mac: '02:00:00:00:00' }],
    ['an address that is none', { addresses: ['10.1.0.2/24 }'] }],
    ['no address', { addresses: [] }],
  ];
  for (const [words, change] of bad) {
    it(`is refused for ${words}`, () => {
      assert.throws(() => tapRuleset({ ...joint, ...change }, 'fresh'), { kind: 'invalid-argument' });
    });
  }
});

describe('pod CIDRs', () => {
  const template = `{"cniVersion":"0.3.1","name":"k8s","plugins":[{"type":"ptp","ipam":{"type":"host-local",
    "subnet":"{{.PodCIDR}}",
    "ranges":[{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet":"{{$range}}"}]{{end}}],
    "routes":[{{range $i, $route := .Routes}}{{if $i}}, {{end}}{"dst":"{{$route}}"}{{end}}]}}]}`;

  it('fill in a template with one and with two families', () => {
    const ipam = (cidrs: string): unknown => JSON.parse(renderTemplate(template, parsePodCidrs(cidrs))).plugins[0].ipam;
    assert.deepEqual(ipam('10.1.0.0/24'), {
      type: 'host-local',
      subnet: '10.1.0.0/24',
      ranges: [[{ subnet: '10.1.0.0/24' }]],
      routes: [{ dst: '0.0.0.0/0' }],
    });
    assert.deepEqual(ipam('10.1.0.0/24, fd00::/64'), {
      type: 'host-local',
      subnet: '10.1.0.0/24',
      ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00::/64' }]],
      routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
    });
  });

  it('are refused a template with more of the language than is understood', () => {
    assert.throws(() => renderTemplate('{"name":"{{ .Nope }}"}', ['10.1.0.0/24']), { message: /\{\{ \.Nope \}\}/ });
  });
});

describe('bandwidth annotations', () => {
  it('are read with their units', () => {
    const annotations = { 'kubernetes.io/ingress-bandwidth': '10M', 'kubernetes.io/egress-bandwidth': '1.5Ki' };
    assert.deepEqual(bandwidthOf(annotations), { ingressBitsPerSecond: 10_000_000, egressBitsPerSecond: 1536 });
    assert.equal(bandwidthOf({ other: '1' }), undefined);
  });
  for (const text of ['', '-1M', '10', '2P', '1e9', 'lots', '1M;']) {
    it(`refuse ${JSON.stringify(text)}`, () => {
      assert.throws(() => bandwidthOf({ 'kubernetes.io/egress-bandwidth': text }), { kind: 'invalid-argument' });
    });
  }
});
