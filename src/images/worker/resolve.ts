import { HuskError } from '../../base/errors.ts';
import type { Digest } from '../../base/ids.ts';
import { parseRunConfig } from '../image-config.ts';
import { malformed, parseObject } from '../json.ts';
import type { ImageLimits } from '../limits.ts';
import { type Manifest, parseDiffIds, parseManifest } from '../manifest.ts';
import type { Reference } from '../reference.ts';
import type { ResolvedImage } from './protocol.ts';
import type { FetchedManifest, RegistryClient } from './registry.ts';

/** What a resolution reads from; the registry in the worker, a table in tests. */
export type ManifestSource = Pick<RegistryClient, 'manifest' | 'smallBlob'>;

/**
 * From a reference to an image: through indexes to the manifest of this platform, and its config.
 *
 * @throws HuskError of the registry, or `invalid-argument` for documents that break their format
 */
export async function resolveImage(
  source: ManifestSource,
  reference: Reference,
  limits: ImageLimits,
  signal: AbortSignal,
): Promise<ResolvedImage> {
  const name = reference.digest ?? reference.tag ?? 'latest';
  const top = await source.manifest(name, reference.digest, signal);
  const manifest = await descend(source, top, limits, signal);
  const bytes = await source.smallBlob(manifest.config.digest, manifest.config.size, signal);
  const config = parseObject('image config', bytes.toString('utf8'));
  const diffIds = parseDiffIds(config, manifest, limits);
  return {
    id: manifest.config.digest,
    digest: top.digest,
    sizeBytes: manifest.layers.reduce((total, layer) => total + layer.size, manifest.config.size),
    config: parseRunConfig(config),
    layers: manifest.layers.map((layer, index) => {
      const diffId = diffIds[index];
      if (diffId === undefined) throw malformed('config', 'found fewer diff ids than layers');
      return { ...layer, diffId };
    }),
  };
}

/** Follows indexes, best candidate first, never twice to one document (CVE-2026-53493). */
async function descend(
  source: ManifestSource,
  top: FetchedManifest,
  limits: ImageLimits,
  signal: AbortSignal,
): Promise<Manifest> {
  const visited = new Set<Digest>([top.digest]);
  let fetched = top;
  for (let depth = 0; depth <= limits.indexDepth; depth += 1) {
    const parsed = parseManifest(fetched.text, limits);
    if (parsed.kind === 'manifest') return parsed;
    const next = parsed.candidates.find((each) => !visited.has(each.digest));
    if (next === undefined) throw malformed('index', 'it leads back to itself');
    visited.add(next.digest);
    fetched = await source.manifest(next.digest, next.digest, signal);
  }
  throw new HuskError('invalid-argument', `read index: more than ${limits.indexDepth} indexes inside one another`, {
    stage: 'read-image',
  });
}
