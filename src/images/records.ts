/** The image store's durable records. */

import { HuskError } from '../base/errors.ts';
import type { Digest } from '../base/ids.ts';
import type { ImageRunConfig } from './image-store.ts';
import { asCount, asDigest, asList, asObject, asText } from './json.ts';
import { parseStoredConfig } from './worker/protocol.ts';

/** An image on the node. Its id in the store is the config digest. */
export interface ImageRecord {
  readonly version: 1;
  readonly id: Digest;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  readonly sizeBytes: number;
  readonly config: ImageRunConfig;
  /** Diff ids, lowest first. */
  readonly layers: readonly Digest[];
}

/** Layers kept for somebody, whatever becomes of the image. Its id in the store is the holder's name. */
export interface HoldRecord {
  readonly version: 1;
  readonly holder: string;
  readonly imageId: Digest;
  readonly layers: readonly Digest[];
}

const maxNames = 10_000;

/** @throws HuskError when the value is no image record of a known version */
export function parseImageRecord(value: unknown): ImageRecord {
  const record = asObject('image record', value);
  checkVersion(record['version']);
  const names = (key: string): string[] => asList(key, record[key], maxNames).map((each) => asText(key, each, 512));
  return {
    version: 1,
    id: asDigest('image id', record['id']),
    repoTags: names('repoTags'),
    repoDigests: names('repoDigests'),
    sizeBytes: asCount('image size', record['sizeBytes'], Number.MAX_SAFE_INTEGER),
    config: parseStoredConfig(record['config']),
    layers: digests(record['layers']),
  };
}

/** @throws HuskError when the value is no hold record of a known version */
export function parseHoldRecord(value: unknown): HoldRecord {
  const record = asObject('hold record', value);
  checkVersion(record['version']);
  return {
    version: 1,
    holder: asText('holder', record['holder'], 512),
    imageId: asDigest('image id', record['imageId']),
    layers: digests(record['layers']),
  };
}

function digests(value: unknown): Digest[] {
  return asList('layers', value, 10_000).map((each) => asDigest('layer', each));
}

function checkVersion(version: unknown): void {
  if (version !== 1) throw new HuskError('failed-precondition', `read record: version is ${String(version)}, wanted 1`);
}
