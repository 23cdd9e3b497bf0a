import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isKind } from '../base/errors.ts';
import { areFor } from './credentials.ts';
import { hostFolderNames, originHost, parseHostsToml } from './hosts.ts';

describe('hosts.toml', () => {
  it('gives mirrors in the order of the file, then the server', () => {
    const hosts = parseHostsToml(
      `server = "https://registry.example"
       [host."http://127.0.0.1:5000"]
       capabilities = ["pull"]
       [host."https://mirror.example/prefix"]
       skip_verify = true
       ca = ["a.pem", "/etc/b.pem"]
       client = [["c.cert", "c.key"]]
       [host."https://mirror.example/prefix".header]
       x-team = ["a", "b"]
       [host."https://odd.example/api"]
       override_path = true`,
      'registry.example',
    );
    assert.deepEqual(
      hosts.map(({ endpoint, resolve, pull, namespace, origin }) => ({ endpoint, resolve, pull, namespace, origin })),
      [
        {
          endpoint: 'http://127.0.0.1:5000/v2',
          resolve: false,
          pull: true,
          namespace: 'registry.example',
          origin: false,
        },
        {
          endpoint: 'https://mirror.example/prefix/v2',
          resolve: true,
          pull: true,
          namespace: 'registry.example',
          origin: false,
        },
        {
          endpoint: 'https://odd.example/api',
          resolve: true,
          pull: true,
          namespace: 'registry.example',
          origin: false,
        },
        { endpoint: 'https://registry.example/v2', resolve: true, pull: true, namespace: undefined, origin: true },
      ],
    );
    assert.deepEqual(hosts[1]?.ca, ['a.pem', '/etc/b.pem']);
    assert.deepEqual(hosts[1]?.client, [['c.cert', 'c.key']]);
    assert.deepEqual(hosts[1]?.header, { 'x-team': 'a, b' });
    assert.equal(hosts[1]?.skipVerify, true);
  });

  it('asks the registry itself when no server is named', () => {
    assert.equal(parseHostsToml('', 'docker.io').at(-1)?.endpoint, 'https://registry-1.docker.io/v2');
  });

  for (const [registry, endpoint] of [
    ['docker.io', 'https://registry-1.docker.io/v2'],
    ['quay.io', 'https://quay.io/v2'],
    ['localhost:5000', 'http://localhost:5000/v2'],
    ['127.0.0.1', 'http://127.0.0.1/v2'],
    ['[::1]:5000', 'http://[::1]:5000/v2'],
    ['localhost:443', 'https://localhost:443/v2'],
    ['10.0.0.1:5000', 'https://10.0.0.1:5000/v2'],
  ] as const) {
    it(`asks ${endpoint} for images of ${registry}`, () => assert.equal(originHost(registry).endpoint, endpoint));
  }

  it('looks in the folders that containerd looks in', () => {
    assert.deepEqual(hostFolderNames('localhost:5000'), ['localhost_5000_', 'localhost:5000', '_default']);
    assert.deepEqual(hostFolderNames('docker.io'), ['docker.io', '_default']);
  });

  for (const text of [
    'server = 5',
    'server = "ftp://x"',
    '[host."https://u:p@x"]',
    '[host."https://x"]\nca = 1',
    '[host."https://x"]\ncapabilities = [1]',
    '[host."https://x".header]\n"a b" = "c"',
    '[host."https://x".header]\na = "b\\nc"',
    'host = 1',
    '= not toml',
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(
        () => parseHostsToml(text, 'x'),
        (caught) => isKind(caught, 'failed-precondition'),
      );
    });
  }
});

describe('credentials', () => {
  const origin = originHost('registry.example');
  const hub = originHost('docker.io');
  const [mirror = origin] = parseHostsToml('[host."https://mirror.example"]', 'registry.example');
  for (const [serverAddress, host, registry, wanted] of [
    ['', origin, 'registry.example', true],
    ['', mirror, 'registry.example', false],
    ['https://registry.example/v1/', origin, 'registry.example', true],
    ['registry.example', mirror, 'registry.example', false],
    ['mirror.example', mirror, 'registry.example', true],
    ['mirror.example', origin, 'registry.example', false],
    ['https://index.docker.io/v1/', hub, 'docker.io', true],
    ['registry.example.evil.example', origin, 'registry.example', false],
    ['evil.example/registry.example', origin, 'registry.example', false],
  ] as const) {
    it(`for "${serverAddress}" ${wanted ? 'go' : 'do not go'} to ${host.endpoint}`, () => {
      assert.equal(areFor({ username: 'u', password: 'p', serverAddress }, host, registry), wanted);
    });
  }
});
