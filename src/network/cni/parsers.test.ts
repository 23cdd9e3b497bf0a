import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { HuskError } from '../../base/errors.ts';
import { parseNetworkConfig } from './config.ts';
import { type Attachment, attachmentOf, pluginEnv, pluginInput } from './request.ts';
import { addressesOf, asPrevResult, parseResult } from './result.ts';

const list = (change: object = {}): string =>
  JSON.stringify({ cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'bridge', bridge: 'br0' }], ...change });

describe('CNI configurations', () => {
  it('reads a list, and the configuration of one plugin as a list of one', () => {
    assert.deepEqual(
      parseNetworkConfig(list()).plugins.map(({ type }) => type),
      ['bridge'],
    );
    const single = parseNetworkConfig('{"cniVersion":"0.3.1","name":"net","type":"ptp","mtu":1400}');
    assert.deepEqual([single.cniVersion, single.plugins[0]?.raw['mtu']], ['0.3.1', 1400]);
  });

  it('chooses the highest of the versions offered that it speaks', () => {
    assert.equal(parseNetworkConfig(list({ cniVersions: ['0.4.0', '1.1.0', '9.0.0'] })).cniVersion, '1.1.0');
    assert.equal(parseNetworkConfig(list({ cniVersion: undefined, cniVersions: ['0.4.0'] })).cniVersion, '0.4.0');
  });

  const bad: [words: string, text: string, message: RegExp][] = [
    ['no JSON', '{', /it is no JSON/],
    ['a list instead of an object', '[]', /found a list/],
    ['no version', list({ cniVersion: undefined }), /"cniVersion": found nothing/],
    ['a version that is too old', list({ cniVersion: '0.2.0' }), /found "0.2.0", wanted 0.3.0 to 1.1.0/],
    ['a version that is too new', list({ cniVersion: '2.0.0' }), /found "2.0.0"/],
    ['no name', list({ name: undefined }), /"name"/],
    ['a name with a path', list({ name: '../net' }), /"name"/],
    ['no plugin', list({ plugins: [] }), /found 0 plugins/],
    ['a plugin that leaves its folder', list({ plugins: [{ type: '../../bin/sh' }] }), /plugins\[0\].type/],
    ['a plugin that is the folder above', list({ plugins: [{ type: '..' }] }), /wanted a file name/],
    ['a plugin without a type', list({ plugins: [{}] }), /plugins\[0\].type/],
    ['a line break behind the type', list({ plugins: [{ type: 'bridge\n' }] }), /plugins\[0\].type/],
    [
      'capabilities that are no flags',
      list({ plugins: [{ type: 'a', capabilities: { dns: 'yes' } }] }),
      /capabilities.dns/,
    ],
  ];
  for (const [words, text, message] of bad) {
    it(`refuses ${words}`, () => {
      assert.throws(() => parseNetworkConfig(text), { kind: 'invalid-argument', message });
    });
  }

  it('answers any text with a configuration or a HuskError', () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => onlyHuskErrors(() => parseNetworkConfig(text))));
  });
});

const result = (change: object = {}): string =>
  JSON.stringify({
    cniVersion: '1.0.0',
    interfaces: [{ name: 'br0' }, { name: 'eth0', mac: '02:00:00:00:00:01', sandbox: '/run/netns/a' }],
    ips: [
      { address: '10.1.0.2/24', gateway: '10.1.0.1', interface: 1 },
      { address: 'fd00::2/64', interface: 1 },
      { address: '10.1.0.1/24', interface: 0 },
    ],
    ...change,
  });

describe('CNI results', () => {
  it('takes the addresses of the pod’s interface only', () => {
    assert.deepEqual(addressesOf(parseResult(result()), 'eth0'), ['10.1.0.2/24', 'fd00::2/64']);
  });

  it('takes addresses without an interface as the pod’s', () => {
    const bare = parseResult(result({ interfaces: undefined, ips: [{ version: '4', address: '10.1.0.2/24' }] }));
    assert.deepEqual(addressesOf(bare, 'eth0'), ['10.1.0.2/24']);
  });

  it('takes null where Go writes an empty list', () => {
    const empty = parseResult(result({ interfaces: null, ips: null, dns: {}, routes: null }));
    assert.deepEqual([empty.ips, empty.dns], [[], { nameservers: [], searches: [], options: [] }]);
  });

  it('translates between the shapes before and since 1.0.0', () => {
    const { raw } = parseResult(result());
    const old = asPrevResult(raw, '0.4.0');
    assert.deepEqual(
      (old['ips'] as { version: string }[]).map(({ version }) => version),
      ['4', '6', '4'],
    );
    assert.equal(old['cniVersion'], '0.4.0');
    assert.deepEqual(asPrevResult(old, '1.0.0'), raw);
    assert.equal(asPrevResult(raw, '1.0.0'), raw);
  });

  const bad: [words: string, text: string, message: RegExp][] = [
    ['nothing', '', /found nothing, wanted JSON/],
    ['garbage', '\u0000\u0001 segmentation fault', /wanted JSON/],
    ['half a result', result().slice(0, 60), /wanted JSON/],
    ['a string', '"ok"', /found "ok", wanted an object/],
    ['an address without a prefix', result({ ips: [{ address: '10.1.0.2' }] }), /ips\[0\].address.*CIDR/],
    ['a prefix that is too long', result({ ips: [{ address: '10.1.0.2/33' }] }), /CIDR/],
    ['an address with a command behind it', result({ ips: [{ address: '10.1.0.2/24 dev lo' }] }), /CIDR/],
    ['a gateway that is none', result({ ips: [{ address: '10.1.0.2/24', gateway: 'gw' }] }), /gateway/],
    [
      'an interface that is not there',
      result({ ips: [{ address: '10.1.0.2/24', interface: 2 }] }),
      /found 2, wanted less than 2/,
    ],
    ['a negative interface', result({ ips: [{ address: '10.1.0.2/24', interface: -1 }] }), /wanted 0 or more/],
    ['a thousand addresses too many', result({ ips: Array(1025).fill({ address: '10.1.0.2/24' }) }), /at most 1024/],
    ['a name server that is none', result({ dns: { nameservers: ['dns.example\nsearch evil'] } }), /dns.nameservers/],
  ];
  for (const [words, text, message] of bad) {
    it(`refuses ${words}`, () => {
      assert.throws(() => parseResult(text), { kind: 'invalid-argument', message });
    });
  }

  it('answers any text with a result or a HuskError', () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => onlyHuskErrors(() => parseResult(text))));
  });
});

describe('CNI calls', () => {
  const request = {
    sandboxId: 'ab'.repeat(32),
    netnsPath: '/run/netns/husk-abab',
    podName: 'web-0',
    podNamespace: 'default',
    podUid: 'u',
    portMappings: [
      { protocol: 'tcp' as const, containerPort: 80, hostPort: 8080, hostIp: '127.0.0.1' },
      { protocol: 'udp' as const, containerPort: 53, hostPort: 0, hostIp: '' },
    ],
    bandwidth: { ingressBitsPerSecond: 1_000_000 },
  };
  const network = parseNetworkConfig(
    list({
      plugins: [
        { type: 'bridge' },
        { type: 'portmap', snat: true, capabilities: { portMappings: true, bandwidth: false } },
      ],
    }),
  );
  const inputOf = (index: number, attachment: Attachment | undefined, previous?: object): unknown => {
    const plugin = network.plugins[index];
    assert.ok(plugin !== undefined);
    return JSON.parse(pluginInput(network, plugin, attachment, previous as never));
  };

  it('passes what the specification names, and nothing of our own environment', () => {
    const env = pluginEnv('ADD', attachmentOf(request), request.netnsPath, ['/opt/cni/bin', '/usr/lib/cni']);
    assert.deepEqual(env, {
      CNI_COMMAND: 'ADD',
      CNI_CONTAINERID: request.sandboxId,
      CNI_NETNS: request.netnsPath,
      CNI_IFNAME: 'eth0',
      CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=${request.sandboxId};K8S_POD_UID=u`,
      CNI_PATH: '/opt/cni/bin:/usr/lib/cni',
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      LC_ALL: 'C',
    });
  });

  it('gives a plugin the capabilities that it declares, and the result before it', () => {
    const previous = { cniVersion: '1.0.0', ips: [] };
    assert.deepEqual(inputOf(1, attachmentOf(request), previous), {
      type: 'portmap',
      snat: true,
      capabilities: { portMappings: true, bandwidth: false },
      name: 'net',
      cniVersion: '1.0.0',
      runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '127.0.0.1' }] },
      prevResult: previous,
    });
    assert.deepEqual(inputOf(0, attachmentOf(request)), { type: 'bridge', name: 'net', cniVersion: '1.0.0' });
  });

  for (const name of ['a;b', 'a=b', 'a\nb', 'a\u0000b']) {
    it(`refuses the pod name ${JSON.stringify(name)}`, () => {
      assert.throws(() => attachmentOf({ ...request, podName: name }), {
        kind: 'invalid-argument',
        message: /K8S_POD_NAME/,
      });
    });
  }
});

function onlyHuskErrors(work: () => unknown): void {
  try {
    work();
  } catch (caught) {
    assert.ok(caught instanceof HuskError, String(caught));
  }
}
