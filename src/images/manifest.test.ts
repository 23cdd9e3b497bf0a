import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { HuskError } from '../base/errors.ts';
import type { Digest } from '../base/ids.ts';
import { parseRunConfig } from './image-config.ts';
import { parseObject } from './json.ts';
import { defaultLimits } from './limits.ts';
import { parseDiffIds, parseManifest } from './manifest.ts';
import { parseReference } from './reference.ts';
import { parseEvent } from './worker/protocol.ts';
import { type ManifestSource, resolveImage } from './worker/resolve.ts';

const digest = (n: number): Digest => `sha256:${n.toString(16).padStart(64, '0')}` as Digest;
const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest: digest(1), size: 10 };
const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest: digest(2), size: 10 };
const good = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json', config, layers: [layer] };
const entry = {
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  digest: digest(3),
  size: 5,
  platform: { os: 'linux', architecture: 'amd64' },
};
const index = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests: [entry] };

describe('a manifest', () => {
  it('is read', () => {
    assert.deepEqual(parseManifest(JSON.stringify(good), defaultLimits), {
      kind: 'manifest',
      config: { digest: digest(2), size: 10 },
      layers: [{ digest: digest(1), size: 10, compression: 'gzip' }],
    });
  });

  for (const [name, document] of [
    ['both an index and a manifest', { ...index, layers: [], config }],
    ['schema 1', { schemaVersion: 1, fsLayers: [] }],
    ['no schema version', { config, layers: [layer] }],
    ['a media type that contradicts it', { ...good, mediaType: index.mediaType }],
    ['an unknown media type', { ...good, mediaType: 'text/html' }],
    ['no layers', { ...good, layers: [] }],
    ['too many layers', { ...good, layers: Array.from({ length: 257 }, () => layer) }],
    [
      'a foreign layer',
      { ...good, layers: [{ ...layer, mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip' }] },
    ],
    [
      'a nondistributable layer',
      { ...good, layers: [{ ...layer, mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar' }] },
    ],
    ['a layer with URLs', { ...good, layers: [{ ...layer, urls: ['https://evil.example/x'] }] }],
    ['a ready-made file system', { ...good, layers: [{ ...layer, mediaType: 'application/vnd.erofs.layer.v1' }] }],
    ['an encrypted layer', { ...good, layers: [{ ...layer, mediaType: `${layer.mediaType}+encrypted` }] }],
    ['a negative size', { ...good, layers: [{ ...layer, size: -1 }] }],
    ['a size with a fraction', { ...good, layers: [{ ...layer, size: 1.5 }] }],
    ['a size beyond the cap', { ...good, layers: [{ ...layer, size: 2 ** 60 }] }],
    ['a size as text', { ...good, layers: [{ ...layer, size: '10' }] }],
    ['a huge config', { ...good, config: { ...config, size: 2 ** 30 } }],
    ['no config', { ...good, config: undefined }],
    [
      'a config that is an artifact',
      { ...good, config: { ...config, mediaType: 'application/vnd.oci.empty.v1+json' } },
    ],
    ...[
      '',
      'sha256:',
      'sha256:abc',
      `sha256:${'A'.repeat(64)}`,
      `sha256:${'a'.repeat(65)}`,
      `sha512:${'a'.repeat(64)}`,
      `sha256:${'a'.repeat(63)}/`,
      '../../etc/passwd',
      `sha256:${'a'.repeat(64)}\n`,
      5,
      null,
      {},
      ['sha256:'],
    ].map((bad) => [`digest ${JSON.stringify(bad)}`, { ...good, layers: [{ ...layer, digest: bad }] }] as const),
    ['layers that are no list', { ...good, layers: {} }],
    ['a layer that is null', { ...good, layers: [null] }],
    ['an index of strings', { ...index, manifests: ['x'] }],
    ['an index of too many', { ...index, manifests: Array.from({ length: 1001 }, () => entry) }],
    [
      'an index without our platform',
      { ...index, manifests: [{ ...entry, platform: { os: 'windows', architecture: 'amd64' } }] },
    ],
    ['an index of v3 alone', { ...index, manifests: [{ ...entry, platform: { ...entry.platform, variant: 'v3' } }] }],
    ['a bare list', []],
    ['null', null],
  ] as const) {
    it(`is refused for ${name}`, () => {
      assert.throws(() => parseManifest(JSON.stringify(document), defaultLimits), HuskError);
    });
  }

  it('never fails but with our error, whatever the JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        for (const document of [
          a,
          { ...good, layers: a, config: b },
          { ...index, manifests: [a, b] },
          { ...good, layers: [{ ...layer, digest: a, size: b }] },
        ]) {
          try {
            parseManifest(JSON.stringify(document), defaultLimits);
          } catch (caught) {
            assert.ok(caught instanceof HuskError, String(caught));
          }
        }
      }),
    );
  });
});

describe('an index', () => {
  /** Serves documents by digest, without a registry. */
  function table(documents: ReadonlyMap<string, object>): ManifestSource & { fetched: number } {
    return {
      fetched: 0,
      async manifest(name) {
        this.fetched += 1;
        const document = documents.get(name) ?? {
          ...index,
          manifests: [{ ...entry, mediaType: index.mediaType, digest: digest(this.fetched + 100) }],
        };
        return { text: JSON.stringify(document), digest: digest(this.fetched + 1000) };
      },
      async smallBlob() {
        return Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { diff_ids: [digest(7)] } }));
      },
    };
  }
  const signal = new AbortController().signal;
  const reference = parseReference('x');

  it('leads to the image of the platform', async () => {
    const image = await resolveImage(
      table(
        new Map<string, object>([
          ['latest', index],
          [digest(3), good],
        ]),
      ),
      reference,
      defaultLimits,
      signal,
    );
    assert.equal(image.id, digest(2));
    assert.deepEqual(
      image.layers.map(({ diffId }) => diffId),
      [digest(7)],
    );
  });

  it('of endless depth is given up after a few documents', async () => {
    const source = table(new Map());
    await assert.rejects(resolveImage(source, reference, defaultLimits, signal), HuskError);
    assert.ok(source.fetched <= defaultLimits.indexDepth + 2);
  });

  it('that leads to itself is refused', async () => {
    const loop = { ...index, manifests: [{ ...entry, mediaType: index.mediaType }] };
    const source = table(
      new Map([
        ['latest', loop],
        [digest(3), loop],
      ]),
    );
    await assert.rejects(resolveImage(source, reference, defaultLimits, signal), /back to itself/);
  });
});

describe('an image config', () => {
  const run = (value: unknown): unknown => parseRunConfig(parseObject('config', JSON.stringify({ config: value })));

  it('is reduced to what a container starts from', () => {
    assert.deepEqual(
      run({
        User: '1000:x',
        Env: ['A=b'],
        Cmd: ['sh'],
        Volumes: { '/v': {} },
        Labels: { 'io.x': 'y' },
        OnBuild: ['x'],
      }),
      {
        user: '1000:x',
        env: ['A=b'],
        workingDir: '',
        entrypoint: [],
        cmd: ['sh'],
        stopSignal: '',
        volumes: ['/v'],
      },
    );
  });

  for (const [name, value] of [
    ['a NUL in a variable', { Env: ['A=\0'] }],
    ['a variable without a name', { Env: ['=x'] }],
    ['a variable without a value', { Env: ['x'] }],
    ['too many variables', { Env: Array.from({ length: 3000 }, (_, i) => `A${i}=`) }],
    ['a variable too long', { Env: [`A=${'x'.repeat(40_000)}`] }],
    ['too much in all', { Env: Array.from({ length: 40 }, (_, i) => `A${i}=${'x'.repeat(30_000)}`) }],
    ['a user too long', { User: 'u'.repeat(257) }],
    ['a newline-like control in the user', { User: 'u\u0007' }],
    ['a number as command', { Cmd: [1] }],
    ['text as command', { Cmd: 'sh' }],
    ['a list as volumes', { Volumes: ['/x'] }],
    ['a long working folder', { WorkingDir: '/'.repeat(5000) }],
    ['a signal too long', { StopSignal: 'S'.repeat(100) }],
    ['text as config', 'x'],
  ] as const) {
    it(`is refused for ${name}`, () => assert.throws(() => run(value), HuskError));
  }

  it('must have a diff id for every layer', () => {
    const manifest = parseManifest(JSON.stringify(good), defaultLimits);
    assert.ok(manifest.kind === 'manifest');
    for (const rootfs of [
      undefined,
      {},
      { diff_ids: [] },
      { diff_ids: [digest(1), digest(2)] },
      { diff_ids: ['../x'] },
    ]) {
      assert.throws(() => parseDiffIds({ rootfs }, manifest, defaultLimits), HuskError);
    }
  });
});

describe('an event of the worker', () => {
  it('is never anything but an event or our error', () => {
    const types = fc.constantFrom('resolved', 'progress', 'layer', 'layer-failed', 'error', 'other');
    fc.assert(
      fc.property(types, fc.jsonValue(), fc.jsonValue(), (type, a, b) => {
        try {
          parseEvent(
            JSON.stringify({ type, layer: a, bytes: b, image: a, error: b, droppedDevices: a }),
            defaultLimits,
          );
        } catch (caught) {
          assert.ok(caught instanceof HuskError, String(caught));
        }
      }),
    );
  });
});
