/** The images that pods run from: a small one for each need, and the big one that is pulled. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { echoServer } from '../fixtures/echo-server.ts';
import { type BuiltImage, buildImage, busyboxTar, type Entry, sha256, tarOf } from '../fixtures/oci-image.ts';
import { pushImage, type TestRegistry } from '../fixtures/registry.ts';

const megabyte = 1_000_000;
const config = { Cmd: ['sh'], Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'] };
const compress = promisify(gzip);

/** Names an image that no runtime has seen: busybox, with a layer of its own on top. */
export async function freshImage(
  registry: TestRegistry,
  purpose: string,
  extra: readonly Entry[] = [],
): Promise<string> {
  const name = `bench/${purpose}-${randomBytes(6).toString('hex')}`;
  const own = tarOf([{ name: 'etc/bench', data: name }, ...extra]);
  await pushImage(registry, `${name}:1`, buildImage([{ tar: busyboxTar() }, { tar: own }], { config }));
  return `docker.io/${name}:1`;
}

/** Where a file of noise lies in the image of {@link streamImage}. */
export const piecePath = '/bench/piece';

/** Busybox with the servers of the tests, and a file of noise to be sent. */
export async function streamImage(registry: TestRegistry, bytes: number): Promise<{ name: string; piece: Buffer }> {
  const name = `bench/streams-${randomBytes(6).toString('hex')}`;
  const piece = randomBytes(bytes);
  const own = tarOf([await echoServer(), { name: piecePath.slice(1), data: piece }]);
  await pushImage(registry, `${name}:1`, buildImage([{ tar: busyboxTar() }, { tar: own }], { config }));
  return { name: `docker.io/${name}:1`, piece };
}

/** The image that containerd runs in each pod's sandbox container. */
export async function pauseImage(registry: TestRegistry): Promise<string> {
  const entrypoint = { Entrypoint: ['/bin/busybox', 'sleep', '2147483647'] };
  await pushImage(registry, 'bench/pause:1', buildImage([{ tar: busyboxTar() }], { config: entrypoint }));
  return 'docker.io/bench/pause:1';
}

/** A pair of images whose layers are new to everybody; the second has all layers of the first but the last. */
export interface BigImages {
  readonly first: string;
  readonly shared: string;
  /** Compressed bytes of the first. */
  readonly bytes: number;
}

/**
 * Pushes the pair. The layers' bulk is made once and kept in the cache; a small entry before it
 * makes each layer new, so that no store has it.
 *
 * @param layerMb compressed size of a layer, in millions of bytes
 */
export async function bigImages(
  registry: TestRegistry,
  cache: string,
  { layers, layerMb }: { readonly layers: number; readonly layerMb: number },
): Promise<BigImages> {
  const bulk = await bulkOf(cache, layerMb);
  const id = randomBytes(6).toString('hex');
  const layer = async (index: number): Promise<{ blob: Buffer; diffId: string }> => {
    const head = tarOf([{ name: `bench/${id}-${index}`, data: `${id} ${index}` }]).subarray(0, 1024);
    // Gzip members one after the other are one gzip stream (RFC 1952, 2.2): the bulk is not compressed again.
    const blob = Buffer.concat([(await compress(head)) as Buffer, bulk.compressed]);
    return { blob, diffId: sha256(Buffer.concat([head, bulk.tar])) };
  };
  const made: { blob: Buffer; diffId: string }[] = [];
  for (let index = 0; index <= layers; index += 1) made.push(await layer(index));
  const first = made.slice(0, layers);
  const shared = [...made.slice(0, layers - 1), ...made.slice(layers)];
  await pushImage(registry, `bench/big-${id}:first`, imageOf(first));
  await pushImage(registry, `bench/big-${id}:shared`, imageOf(shared));
  const bytes = first.reduce((sum, { blob }) => sum + blob.length, 0);
  return { first: `docker.io/bench/big-${id}:first`, shared: `docker.io/bench/big-${id}:shared`, bytes };
}

function imageOf(layers: readonly { readonly blob: Buffer; readonly diffId: string }[]): BuiltImage {
  const type = 'application/vnd.oci.image';
  const configBytes = Buffer.from(
    JSON.stringify({
      os: 'linux',
      architecture: 'amd64',
      config,
      rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    }),
  );
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: `${type}.manifest.v1+json`,
      config: { mediaType: `${type}.config.v1+json`, digest: sha256(configBytes), size: configBytes.length },
      layers: layers.map(({ blob }) => ({
        mediaType: `${type}.layer.v1.tar+gzip`,
        digest: sha256(blob),
        size: blob.length,
      })),
    }),
  );
  const blobs = new Map([
    [sha256(configBytes), configBytes],
    ...layers.map(({ blob }) => [sha256(blob), blob] as const),
  ]);
  return { manifest, mediaType: `${type}.manifest.v1+json`, blobs, configDigest: sha256(configBytes) };
}

/**
 * A tar stream that compresses to about half, as programs do: files of 1 MB, half of it noise and
 * half of it words.
 */
async function bulkOf(cache: string, layerMb: number): Promise<{ tar: Buffer; compressed: Buffer }> {
  const path = join(cache, `bulk-${layerMb}`);
  const known = await Promise.all([readFile(`${path}.tar`), readFile(`${path}.tar.gz`)]).catch(() => undefined);
  if (known !== undefined) return { tar: known[0], compressed: known[1] };
  const words = Buffer.from('every pod gets a virtual machine of its own, cloned from a warm template\n');
  const files = Array.from({ length: 2 * layerMb }, (_, index) => {
    const noise = randomBytes(megabyte / 2);
    return { name: `bench/files/${index}`, data: Buffer.concat([noise, Buffer.alloc(megabyte / 2, words)]) };
  });
  const tar = tarOf(files);
  const compressed = (await compress(tar, { level: 1 })) as Buffer;
  await mkdir(cache, { recursive: true });
  for (const [name, bytes] of [
    [`${path}.tar`, tar],
    [`${path}.tar.gz`, compressed],
  ] as const) {
    await writeFile(`${name}.new`, bytes);
    await rename(`${name}.new`, name);
  }
  return { tar, compressed };
}
