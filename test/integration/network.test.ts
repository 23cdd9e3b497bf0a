import '../helpers/private-network.ts';
import assert from 'node:assert/strict';
import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { run } from '../../src/base/exec.ts';
import { newSandboxId } from '../../src/base/ids.ts';
import { networkContract, podRequest } from '../../src/network/network.contract.ts';
import type { NetworkRequest, PodInterface } from '../../src/network/network.ts';
import { tapName } from '../../src/network/network.ts';
import { assertCensus, type Census, takeCensus } from '../helpers/census.ts';
import { type CniBench, startCni } from '../helpers/cni.ts';
import { buildFrames, FramePort } from '../helpers/frame-port.ts';
import { arp, broadcast, ethernet, icmpEcho, icmpv6, ipBytes, ipv4, ipv6, macBytes } from '../helpers/packets.ts';

const number = process.pid % 200;

networkContract('Debian’s CNI plugins', async () => {
  const cni = startCni(number + 50);
  cni.configure([cni.bridgePlugin(), { type: 'portmap', capabilities: { portMappings: true } }]);
  return {
    network: cni.network,
    stop: async () => {
      assert.deepEqual(readdirSync(join(cni.folder, 'attachments')), []);
      await cni.close();
    },
  };
});

describe('the network of a pod', () => {
  let cni: CniBench;
  let census: Census;
  let frames = '';
  const scope = (): Parameters<typeof takeCensus>[0] => ({
    kinds: ['network namespaces', 'links', 'queueing disciplines', 'packet filter', 'leases', 'files'],
    leaseFolders: [join(cni.folder, 'leases')],
    folders: [join(cni.folder, 'attachments')],
  });

  before(async () => {
    cni = startCni(number);
    frames = await buildFrames(cni.folder);
    // The plugins' bridge and their chains for all pods stay: they are there before the census.
    await withPod(async (request) => void (await cni.network.attach(mapped(request))));
    census = await takeCensus(scope());
  });
  after(async () => {
    try {
      await assertCensus(census, scope());
    } finally {
      await cni.close();
    }
  });

  const mapped = (request: NetworkRequest): NetworkRequest => ({
    ...request,
    portMappings: [{ protocol: 'tcp', containerPort: 80, hostPort: 20_000 + number, hostIp: '' }],
  });

  /** Runs a case with a namespace under the usual configuration, and takes everything away after it. */
  async function withPod(use: (request: NetworkRequest) => Promise<void>, id = newSandboxId()): Promise<void> {
    cni.configure([cni.bridgePlugin(), { type: 'portmap', capabilities: { portMappings: true } }]);
    const request = podRequest(cni.network, id);
    await cni.network.createNamespace(request.sandboxId);
    try {
      await use(request);
    } finally {
      // As the daemon does: with the mappings that ADD was told, needed when nothing else tells them.
      await cni.network.detach(mapped(request));
      await cni.network.removeNamespace(request.sandboxId);
    }
  }

  /** As withPod, attached and joined with a tap behind which the test plays the guest. */
  async function withGuest(
    use: (guest: FramePort, pod: PodInterface, request: NetworkRequest) => Promise<void>,
  ): Promise<void> {
    await withPod(async (request) => {
      const pod = await cni.network.attach(mapped(request));
      const guest = await FramePort.tap(frames, request.netnsPath, tapName);
      try {
        await cni.network.joinTap(request.netnsPath, pod);
        await use(guest, pod, request);
      } finally {
        await guest.close();
      }
    });
  }

  const inNamespace = async (request: NetworkRequest, ...args: string[]): Promise<string> =>
    await run('ip', ['-n', request.netnsPath.split('/').at(-1) ?? '', ...args], { timeoutMs: 10_000 });

  it('has addresses of both families, with gateways, and the guest takes them over', async () => {
    await withGuest(async (_guest, pod, request) => {
      assert.match(pod.addresses.join(' '), new RegExp(`^${cni.subnet}\\.\\d+/24 ${cni.subnet6}[0-9a-f]+/64$`));
      assert.deepEqual(pod.routes, [
        { destination: '0.0.0.0/0', gateway: `${cni.subnet}.1` },
        { destination: '::/0', gateway: `${cni.subnet6}1` },
      ]);
      assert.equal(await inNamespace(request, '-o', 'addr', 'show', 'dev', 'eth0'), '');
      assert.match(await inNamespace(request, '-o', 'link', 'show', 'dev', 'lo'), /UP/);
    });
  });

  it('carries ARP, ICMP and neighbour discovery between guest and bridge', async () => {
    await withGuest(async (guest, pod) => {
      const { ip, mac: gatewayMac, gateway } = await meetGateway(guest, pod, cni);
      guest.send(ethernet({ from: pod.mac, to: gatewayMac }, 0x0800, ipv4({ from: ip, to: gateway }, 1, icmpEcho(7))));
      await guest.find('echo reply', (frame) => frame[23] === 1 && frame[34] === 0 && frame.readUInt16BE(40) === 7);
      const [ip6, gateway6] = [pod.addresses[1]?.split('/')[0] ?? '', `${cni.subnet6}1`];
      // As a kernel does (RFC 4861, RETRANS_TIMER): while the gateway's own address is tentative it answers nobody.
      const solicit = (): void => guest.send(neighbourSolicitation(pod.mac, ip6, gateway6));
      solicit();
      const retransmit = setInterval(solicit, 1_000);
      try {
        await guest.find('neighbour advertisement', (frame) => frame.readUInt16BE(12) === 0x86dd && frame[54] === 136);
      } finally {
        clearInterval(retransmit);
      }
    });
  });

  it('lets out no frame that is not the pod’s own', async () => {
    await withGuest(async (guest, pod, request) => {
      const { ip, mac: gatewayMac, gateway } = await meetGateway(guest, pod, cni);
      const sniffer = await FramePort.sniff(frames, await hostSide(request));
      try {
        const spoofs = spoofedFrames(pod, gatewayMac, gateway);
        for (const [index, [, frame]] of spoofs.entries()) {
          guest.send(frame);
          // An honest frame behind each: when it has come through, so would have the other.
          guest.send(
            ethernet(
              { from: pod.mac, to: gatewayMac },
              0x0800,
              ipv4({ from: ip, to: gateway }, 1, icmpEcho(100 + index)),
            ),
          );
          await sniffer.find(
            'honest frame',
            (seen) => seen[23] === 1 && seen[34] === 8 && seen.readUInt16BE(40) === 100 + index,
          );
        }
        for (const [words, frame] of spoofs) {
          const through = sniffer.seen.some((seen) => seen.includes(frame.subarray(12, 60)));
          assert.equal(through, false, `came through: ${words}`);
        }
        const ruleset = await run('nsenter', [`--net=${request.netnsPath}`, 'nft', 'list', 'counters'], {
          timeoutMs: 10_000,
        });
        const refused = Number(/counter refused \{\s+packets (\d+)/.exec(ruleset)?.[1]);
        assert.equal(refused, spoofs.length);
      } finally {
        await sniffer.close();
      }
    });
  });

  it('sends connections to a mapped host port to the guest', async () => {
    await withGuest(async (guest, pod) => {
      const { ip, mac, gateway } = await meetGateway(guest, pod, cni);
      const caller = connect({ host: gateway, port: 20_000 + number });
      caller.on('error', () => {});
      try {
        const asked = guest.find(
          'ARP request for the pod',
          (frame) => frame.readUInt16BE(12) === 0x0806 && frame.subarray(38, 42).equals(ipBytes(ip)),
        );
        const syn = guest.find('SYN to port 80', (frame) => frame[23] === 6 && frame.readUInt16BE(36) === 80);
        await Promise.race([asked, syn]);
        guest.send(ethernet({ from: pod.mac, to: mac }, 0x0806, arp(2, { mac: pod.mac, ip }, { mac, ip: gateway })));
        await syn;
      } finally {
        caller.destroy();
      }
    });
  });

  it('keeps the interface’s MTU on the tap, and may be joined again', async () => {
    await withPod(async (request) => {
      cni.configure([cni.bridgePlugin({ mtu: 1400 })]);
      const pod = await cni.network.attach(request);
      assert.equal(pod.mtu, 1400);
      const guest = await FramePort.tap(frames, request.netnsPath, tapName);
      for (let times = 0; times < 2; times += 1) await cni.network.joinTap(request.netnsPath, pod);
      assert.match(await inNamespace(request, '-o', 'link', 'show', 'dev', tapName), /mtu 1400/);
      await meetGateway(guest, pod, cni);
      await guest.close();
    });
  });

  it('waits for a tap that comes late, and no longer than its caller', async () => {
    await withPod(async (request) => {
      const pod = await cni.network.attach(request);
      await assert.rejects(cni.network.joinTap(request.netnsPath, pod, AbortSignal.timeout(100)), {
        kind: 'cancelled',
      });
      const joined = cni.network.joinTap(request.netnsPath, pod);
      const guest = await FramePort.tap(frames, request.netnsPath, tapName);
      await joined;
      await guest.close();
    });
  });

  for (const version of ['0.3.1', '0.4.0', '1.0.0']) {
    it(`comes from the ptp plugin at CNI ${version}, where the host is the only neighbour`, async () => {
      await withPod(async (request) => {
        const ipam = {
          type: 'host-local',
          subnet: `${cni.subnet}.0/24`,
          dataDir: join(cni.folder, 'leases'),
          routes: [{ dst: '0.0.0.0/0' }],
        };
        cni.configure([{ type: 'ptp', ipMasq: true, ipam }], version);
        const pod = await cni.network.attach(request);
        const gateway = `${cni.subnet}.1`;
        assert.match(pod.addresses[0] ?? '', /\/32$/);
        assert.deepEqual(pod.routes, [
          { destination: `${gateway}/32`, gateway: '' },
          { destination: '0.0.0.0/0', gateway },
          { destination: `${cni.subnet}.0/24`, gateway },
        ]);
        const guest = await FramePort.tap(frames, request.netnsPath, tapName);
        await cni.network.joinTap(request.netnsPath, pod);
        await meetGateway(guest, pod, cni);
        await guest.close();
      });
    });
  }

  it('is undone when a later plugin fails, hangs or prints garbage', async () => {
    const faults: [script: string, kind: string][] = [
      [`[ "$CNI_COMMAND" = DEL ] || { echo '{"code":11,"msg":"later"}'; exit 1; }`, 'unavailable'],
      ['[ "$CNI_COMMAND" = DEL ] || kill -9 $$', 'internal'],
      ['[ "$CNI_COMMAND" = DEL ] || echo garbage', 'internal'],
      [`[ "$CNI_COMMAND" = DEL ] || echo '{"cniVersion":"1.0.0","ips":[{"address":'`, 'internal'],
      ['[ "$CNI_COMMAND" = DEL ] || yes', 'resource-exhausted'],
    ];
    for (const [script, kind] of faults) {
      await withPod(async (request) => {
        const own = await takeCensus(scope());
        writeFileSync(join(cni.folder, 'plugins/broken'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
        cni.configure([
          cni.bridgePlugin(),
          { type: 'portmap', capabilities: { portMappings: true } },
          { type: 'broken' },
        ]);
        await assert.rejects(cni.network.attach(mapped(request)), { kind, message: /broken/, stage: 'cni-add' });
        await assertCensus(own, scope());
      });
    }
  });

  it('is undone when its caller goes in the midst of a plugin', async () => {
    await withPod(async (request) => {
      const own = await takeCensus(scope());
      const started = join(cni.folder, 'started');
      const script = `[ "$CNI_COMMAND" = DEL ] && exit 0; : > ${started}; exec sleep 1000`;
      writeFileSync(join(cni.folder, 'plugins/broken'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      cni.configure([cni.bridgePlugin(), { type: 'broken' }]);
      const caller = new AbortController();
      const attached = cni.network.attach(request, caller.signal);
      const watch = setInterval(() => existsSync(started) && caller.abort(), 5);
      await assert.rejects(attached, { kind: 'cancelled' });
      clearInterval(watch);
      await assertCensus(own, scope());
    });
  });

  it('is refused with the plugin’s words when no address is left, and the leases stay right', async () => {
    const ranges = [[{ subnet: `${cni.subnet}.0/24`, rangeStart: `${cni.subnet}.200`, rangeEnd: `${cni.subnet}.200` }]];
    const ipam = { type: 'host-local', dataDir: join(cni.folder, 'leases'), ranges };
    await withPod(async (first) => {
      cni.configure([cni.bridgePlugin({ ipam })]);
      await cni.network.attach(first);
      await withPod(async (second) => {
        cni.configure([cni.bridgePlugin({ ipam })]);
        await assert.rejects(cni.network.attach(second), { kind: 'internal', message: /no IP addresses available/ });
      });
      cni.configure([cni.bridgePlugin({ ipam })]);
    });
  });

  it('is taken down by what it was made with, after the configuration changed, broke or vanished', async () => {
    const config = join(cni.folder, 'net.d/10-test.conflist');
    const changes = [
      () => cni.configure([{ type: 'loopback' }]),
      () => writeFileSync(config, '{'),
      () => rmSync(config),
    ];
    for (const change of changes) {
      await withPod(async (request) => {
        await cni.network.attach(mapped(request));
        change();
      });
    }
  });

  it('is taken down by the present configuration when what it was made with is lost', async () => {
    await withPod(async (request) => {
      await cni.network.attach(mapped(request));
      writeFileSync(join(cni.folder, 'attachments', `${request.sandboxId}.json`), '{"version":');
    });
  });

  it('is taken down wholly, also when namespace or interface were removed by hand', async () => {
    await withPod(async (request) => {
      await cni.network.attach(mapped(request));
      await run('ip', ['netns', 'del', request.netnsPath.split('/').at(-1) ?? ''], { timeoutMs: 10_000 });
    });
    await withPod(async (request) => {
      await cni.network.attach(mapped(request));
      await inNamespace(request, 'link', 'del', 'eth0');
    });
  });

  it('tells of a plugin that is missing, and is taken down once that is back', async () => {
    await withPod(async (request) => {
      const [there, away] = [join(cni.folder, 'plugins/extra'), join(cni.folder, 'extra')];
      writeFileSync(there, '#!/bin/sh\nif [ "$CNI_COMMAND" = ADD ]; then echo \'{"cniVersion":"1.0.0"}\'; fi\n', {
        mode: 0o755,
      });
      cni.configure([{ type: 'extra' }, cni.bridgePlugin()]);
      await cni.network.attach(request);
      renameSync(there, away);
      const status = await cni.network.status();
      assert.deepEqual([status.ready, status.reason], [false, 'NetworkPluginNotReady']);
      assert.match(status.message, /CNI plugin "extra"/);
      await assert.rejects(cni.network.detach(request), { kind: 'failed-precondition', message: /CNI plugin "extra"/ });
      await assert.rejects(cni.network.attach(request), { kind: 'failed-precondition' });
      renameSync(away, there);
    });
  });

  it('tells how long its steps take', async (test) => {
    const times = new Map<string, number[]>();
    const timed = async <T>(name: string, work: Promise<T>): Promise<T> => {
      const start = performance.now();
      const result = await work;
      times.set(name, [...(times.get(name) ?? []), performance.now() - start]);
      return result;
    };
    cni.configure([
      cni.bridgePlugin({
        ipam: { type: 'host-local', subnet: `${cni.subnet}.0/24`, dataDir: join(cni.folder, 'leases') },
      }),
    ]);
    for (let round = 0; round < 7; round += 1) {
      const request = podRequest(cni.network, newSandboxId());
      await timed('createNamespace', cni.network.createNamespace(request.sandboxId));
      const pod = await timed('attach', cni.network.attach(request));
      const guest = await FramePort.tap(frames, request.netnsPath, tapName);
      await timed('joinTap', cni.network.joinTap(request.netnsPath, pod));
      await guest.close();
      await timed('detach', cni.network.detach(request));
      await timed('removeNamespace', cni.network.removeNamespace(request.sandboxId));
    }
    for (const [name, all] of times) {
      const sorted = all.toSorted((a, b) => a - b);
      test.diagnostic(`${name}: median ${sorted[3]?.toFixed(1)} ms, least ${sorted[0]?.toFixed(1)} ms`);
    }
  });

  /** The host's end of the pod's link. */
  async function hostSide(request: NetworkRequest): Promise<string> {
    const [link] = JSON.parse(await inNamespace(request, '-json', 'link', 'show', 'dev', 'eth0')) as {
      link_index: number;
    }[];
    const links = JSON.parse(await run('ip', ['-json', 'link'], { timeoutMs: 10_000 })) as {
      ifindex: number;
      ifname: string;
    }[];
    return links.find(({ ifindex }) => ifindex === link?.link_index)?.ifname ?? '';
  }
});

/** Asks for the gateway's MAC as a guest would. */
async function meetGateway(
  guest: FramePort,
  pod: PodInterface,
  cni: CniBench,
): Promise<{ ip: string; mac: string; gateway: string }> {
  const [ip, gateway] = [pod.addresses[0]?.split('/')[0] ?? '', `${cni.subnet}.1`];
  const target = { mac: '00:00:00:00:00:00', ip: gateway };
  guest.send(ethernet({ from: pod.mac, to: broadcast }, 0x0806, arp(1, { mac: pod.mac, ip }, target)));
  const isReply = (frame: Buffer): boolean => frame.readUInt16BE(12) === 0x0806 && frame.readUInt16BE(20) === 2;
  const reply = await guest.find('ARP reply', isReply);
  assert.deepEqual([...reply.subarray(0, 6)], [...macBytes(pod.mac)]);
  const mac = reply.toString('hex', 6, 12).replaceAll(/(..)(?=.)/g, '$1:');
  return { ip, mac, gateway };
}

function neighbourSolicitation(mac: string, from: string, target: string): Buffer {
  const ends = { from, to: target };
  const body = Buffer.concat([Buffer.alloc(4), ipBytes(target), Buffer.from([1, 1]), macBytes(mac)]);
  return ethernet({ from: mac, to: '33:33:ff:00:00:01' }, 0x86dd, ipv6(ends, 58, icmpv6(ends, 135, body)));
}

/** What a hostile guest would send; each differs from all the others in its bytes. */
function spoofedFrames(pod: PodInterface, gatewayMac: string, gateway: string): [words: string, frame: Buffer][] {
  const [ip, ip6] = pod.addresses.map((address) => address.split('/')[0] ?? '') as [string, string];
  const other = { mac: '02:ba:d0:00:00:01', ip: gateway.replace(/\.1$/, '.77'), ip6: ip6.replace(/[0-9a-f]+$/, 'bad') };
  const own = { from: pod.mac, to: gatewayMac };
  const all = { from: pod.mac, to: broadcast };
  const nobody = { mac: '00:00:00:00:00:00', ip: gateway };
  const allNodes = { from: ip6, to: 'ff02::1' };
  const linkLocalOther = { from: 'fe80::bad', to: 'ff02::1' };
  const echo = (mark: number): Buffer => ipv4({ from: ip, to: gateway }, 1, icmpEcho(60_000 + mark));
  const tagged = (tag: number, inner: number, payload: Buffer): Buffer =>
    Buffer.concat([Buffer.from([0, tag, inner >> 8, inner & 255]), payload]);
  const advertisement = (target: string): Buffer =>
    Buffer.concat([Buffer.from([0x20, 0, 0, 0]), ipBytes(target), Buffer.from([2, 1]), macBytes(pod.mac)]);
  const routerAdvertisement = icmpv6(allNodes, 134, Buffer.alloc(12, 1));
  const hopByHop = Buffer.from([58, 0, 1, 4, 0, 0, 0, 0]);
  return [
    ['a foreign source MAC', ethernet({ from: other.mac, to: gatewayMac }, 0x0800, echo(1))],
    ['a multicast source MAC', ethernet({ from: '03:00:00:00:00:01', to: gatewayMac }, 0x0800, echo(2))],
    ['ARP for another’s address', ethernet(all, 0x0806, arp(2, { mac: pod.mac, ip: other.ip }, nobody))],
    ['ARP for the gateway’s address', ethernet(all, 0x0806, arp(2, { mac: pod.mac, ip: gateway }, nobody))],
    ['ARP with a foreign MAC inside', ethernet(all, 0x0806, arp(1, { mac: other.mac, ip }, nobody))],
    ['a foreign IPv4 source', ethernet(own, 0x0800, ipv4({ from: other.ip, to: gateway }, 1, icmpEcho(3)))],
    ['a loopback IPv4 source', ethernet(own, 0x0800, ipv4({ from: '127.0.0.1', to: gateway }, 1, icmpEcho(4)))],
    ['a DHCP server’s reply', ethernet(all, 0x0800, ipv4({ from: ip, to: '255.255.255.255' }, 17, udp67()))],
    ['a DHCPv6 server’s reply', ethernet(all, 0x86dd, ipv6(allNodes, 17, udp547()))],
    ['a router advertisement', ethernet(all, 0x86dd, ipv6(allNodes, 58, routerAdvertisement))],
    [
      'a router advertisement behind a hop-by-hop header',
      ethernet(all, 0x86dd, ipv6(allNodes, 0, Buffer.concat([hopByHop, routerAdvertisement]))),
    ],
    [
      'a router advertisement from a foreign link-local address',
      ethernet(all, 0x86dd, ipv6(linkLocalOther, 58, icmpv6(linkLocalOther, 134, Buffer.alloc(12)))),
    ],
    ['a redirect', ethernet(all, 0x86dd, ipv6(allNodes, 58, icmpv6(allNodes, 137, Buffer.alloc(36))))],
    [
      'a neighbour advertisement for another',
      ethernet(all, 0x86dd, ipv6(allNodes, 58, icmpv6(allNodes, 136, advertisement(other.ip6)))),
    ],
    [
      'a foreign IPv6 source',
      ethernet(
        all,
        0x86dd,
        ipv6({ from: other.ip6, to: 'ff02::1' }, 58, icmpv6({ from: other.ip6, to: 'ff02::1' }, 128, Buffer.alloc(8))),
      ),
    ],
    [
      'IPv6 echo from no address',
      ethernet(
        all,
        0x86dd,
        ipv6({ from: '::', to: 'ff02::1' }, 58, icmpv6({ from: '::', to: 'ff02::1' }, 128, Buffer.alloc(8))),
      ),
    ],
    ['a VLAN tag', ethernet(own, 0x8100, tagged(5, 0x0800, echo(5)))],
    ['the priority tag', ethernet(own, 0x8100, tagged(0, 0x0800, echo(6)))],
    ['a service tag', ethernet(own, 0x88a8, tagged(5, 0x0800, echo(7)))],
    ['two tags', ethernet(own, 0x88a8, tagged(5, 0x8100, tagged(6, 0x0800, echo(8))))],
    ['a bridge protocol frame', ethernet({ from: pod.mac, to: '01:80:c2:00:00:00' }, 0x0027, Buffer.alloc(46, 9))],
    ['a frame of an unknown type', ethernet(own, 0x88cc, Buffer.alloc(46, 10))],
    ['IPv4 bytes under the type of IPv6', ethernet(own, 0x86dd, echo(11))],
    [
      'ARP of another hardware',
      ethernet(all, 0x0806, Buffer.concat([Buffer.from([0, 6]), arp(2, { mac: pod.mac, ip }, nobody).subarray(2)])),
    ],
  ];
}

function udp67(): Buffer {
  return datagram(67, 68);
}

function udp547(): Buffer {
  return datagram(547, 546);
}

function datagram(from: number, to: number): Buffer {
  const bytes = Buffer.alloc(48, 1);
  bytes.writeUInt16BE(from, 0);
  bytes.writeUInt16BE(to, 2);
  bytes.writeUInt16BE(bytes.length, 4);
  bytes.writeUInt16BE(0, 6);
  return bytes;
}
