/** Manifests and indexes of OCI and Docker (schema 2), read as hostile input. */
import { HuskError } from '../base/errors.ts';
import type { Digest } from '../base/ids.ts';
import { asCount, asDigest, asList, asObject, asText, type JsonObject, malformed, parseObject } from './json.ts';
import type { ImageLimits } from './limits.ts';

/** Media types that are asked for, in the `Accept` header. */
export const acceptedManifests: readonly string[] = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];

/** How a layer's tar stream is packed. */
export type Compression = 'gzip' | 'zstd' | 'none';

/** One layer as the manifest names it. */
export interface LayerDescriptor {
  /** Digest of the bytes on the wire. */
  readonly digest: Digest;
  readonly size: number;
  readonly compression: Compression;
}

/** A manifest of one platform. */
export interface Manifest {
  readonly kind: 'manifest';
  readonly config: { readonly digest: Digest; readonly size: number };
  readonly layers: readonly LayerDescriptor[];
}

/** The manifests that fit this node, best first. */
export interface Index {
  readonly kind: 'index';
  readonly candidates: readonly { readonly digest: Digest; readonly size: number }[];
}

const layerTypes: ReadonlyMap<string, Compression> = new Map([
  ['application/vnd.oci.image.layer.v1.tar', 'none'],
  ['application/vnd.oci.image.layer.v1.tar+gzip', 'gzip'],
  ['application/vnd.oci.image.layer.v1.tar+zstd', 'zstd'],
  ['application/vnd.docker.image.rootfs.diff.tar', 'none'],
  ['application/vnd.docker.image.rootfs.diff.tar.gzip', 'gzip'],
  ['application/vnd.docker.image.rootfs.diff.tar.zstd', 'zstd'],
]);
const configTypes: readonly string[] = [
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
];

/**
 * Parses the bytes of a manifest or an index.
 *
 * What the document *is* decides, not the Content-Type of the answer, and a document that is
 * both is refused: else one digest means two things (GHSA-5j5w-g665-5m35).
 *
 * @throws HuskError `invalid-argument` or, for schema 1 and artifacts that are no image, `unimplemented`
 */
export function parseManifest(text: string, limits: ImageLimits): Manifest | Index {
  const root = parseObject('manifest', text);
  const isIndex = root['manifests'] !== undefined;
  if (isIndex && (root['layers'] !== undefined || root['config'] !== undefined || root['fsLayers'] !== undefined)) {
    throw malformed('manifest', 'found the parts of an index and of a manifest in one document');
  }
  if (root['schemaVersion'] === 1 || root['fsLayers'] !== undefined) {
    throw new HuskError('unimplemented', 'read manifest: schema 1 is not supported', {
      stage: 'read-image',
      hint: 'push the image again with a tool that writes OCI or Docker schema 2 manifests',
    });
  }
  if (root['schemaVersion'] !== 2) throw malformed('manifest', 'wanted "schemaVersion" 2');
  const type = root['mediaType'];
  if (type !== undefined && (typeof type !== 'string' || !acceptedManifests.includes(type))) {
    throw malformed('manifest', `media type ${JSON.stringify(type)?.slice(0, 100)} is not known`);
  }
  if (type !== undefined && /index|list/.test(type) !== isIndex) {
    throw malformed('manifest', `media type "${type}" contradicts the document`);
  }
  return isIndex ? parseIndex(root, limits) : parseImageManifest(root, limits);
}

function parseImageManifest(root: JsonObject, limits: ImageLimits): Manifest {
  const config = asObject('manifest "config"', root['config']);
  const type = config['mediaType'];
  if (typeof type !== 'string' || !configTypes.includes(type)) {
    throw new HuskError('unimplemented', `read manifest: config type "${String(type).slice(0, 100)}" is no image`, {
      stage: 'read-image',
    });
  }
  const layers = asList('manifest "layers"', root['layers'], limits.layers);
  // CVE-2026-24054 (Kata): what is built from no layers is taken for something else further on.
  if (layers.length === 0) throw malformed('manifest', 'found no layers');
  return {
    kind: 'manifest',
    config: {
      digest: asDigest('config digest', config['digest']),
      size: asCount('config size', config['size'], limits.configBytes),
    },
    layers: layers.map((each) => parseLayer(each, limits)),
  };
}

function parseLayer(value: unknown, limits: ImageLimits): LayerDescriptor {
  const layer = asObject('layer descriptor', value);
  const type = asText('layer media type', layer['mediaType'], 200);
  const compression = layerTypes.get(type);
  if (compression === undefined) {
    // Foreign layers carry URLs of hosts that are not the registry (CVE-2020-15157); ready-made file
    // systems would reach a kernel without having passed our own mkfs (R7).
    const why = /foreign|nondistributable/.test(type) ? 'layers from elsewhere are refused' : 'not a tar layer';
    throw new HuskError('unimplemented', `read layer of type "${type}": ${why}`, { stage: 'read-image' });
  }
  if (asList('layer "urls"', layer['urls'], limits.descriptors).length > 0) {
    throw malformed('layer descriptor', 'found "urls": layers from elsewhere are refused');
  }
  return {
    digest: asDigest('layer digest', layer['digest']),
    size: asCount('layer size', layer['size'], limits.layerBytes),
    compression,
  };
}

function parseIndex(root: JsonObject, limits: ImageLimits): Index {
  const all = asList('index "manifests"', root['manifests'], limits.descriptors).map((each) => {
    const descriptor = asObject('index descriptor', each);
    return {
      digest: asDigest('index descriptor digest', descriptor['digest']),
      size: asCount('index descriptor size', descriptor['size'], limits.manifestBytes),
      rank: rankOf(descriptor),
    };
  });
  const candidates = all.filter((each) => each.rank > 0).sort((a, b) => b.rank - a.rank);
  if (candidates.length === 0) {
    throw new HuskError('not-found', 'choose from the index: no manifest for linux/amd64', { stage: 'read-image' });
  }
  return { kind: 'index', candidates: candidates.map(({ digest, size }) => ({ digest, size })) };
}

/** 0: not for this node; above: the greater the better. */
function rankOf(descriptor: JsonObject): number {
  const type = descriptor['mediaType'];
  if (typeof type !== 'string' || !acceptedManifests.includes(type)) return 0;
  if (descriptor['artifactType'] !== undefined) return 0;
  const isNested = /index|list/.test(type);
  if (descriptor['platform'] === undefined) return isNested ? 2 : 1;
  const platform = asObject('platform', descriptor['platform']);
  if (platform['os'] !== 'linux' || platform['architecture'] !== 'amd64') return 0;
  const variant = platform['variant'];
  // Any amd64 runs v1. v2 and v3 need instructions that the guest's CPU model may not have.
  if (variant === undefined || variant === '' || variant === 'v1') return 4;
  return 0;
}

/** What the config says of the layers: digests of their uncompressed tar streams, lowest first. */
export function parseDiffIds(config: JsonObject, manifest: Manifest, limits: ImageLimits): Digest[] {
  const rootfs = asObject('config "rootfs"', config['rootfs']);
  const ids = asList('config "rootfs.diff_ids"', rootfs['diff_ids'], limits.layers);
  if (ids.length !== manifest.layers.length) {
    throw malformed('config', `found ${ids.length} diff ids for ${manifest.layers.length} layers`);
  }
  return ids.map((each) => asDigest('diff id', each));
}
