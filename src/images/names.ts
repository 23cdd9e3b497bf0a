/** Which image a name means, and which names an image gets. Pure. */

import { HuskError } from '../base/errors.ts';
import type { Digest } from '../base/ids.ts';
import type { ImageRecord } from './records.ts';
import { parseReference, type Reference, repoDigest, repositoryName, repoTag } from './reference.ts';

const idPattern = /^(?:sha256:)?([0-9a-f]{64})$/;
const idPrefixPattern = /^(?:sha256:)?([0-9a-f]{3,63})$/;

/** The image by id, tag, digest, short name or a prefix of the id that only one image has. */
export function findImage(images: readonly ImageRecord[], text: string): ImageRecord | undefined {
  const whole = idPattern.exec(text)?.[1];
  if (whole !== undefined) return images.find((image) => image.id === `sha256:${whole}`);
  const byName = findByName(images, text);
  if (byName !== undefined) return byName;
  const prefix = idPrefixPattern.exec(text)?.[1];
  if (prefix === undefined) return undefined;
  const matches = images.filter((image) => image.id.startsWith(`sha256:${prefix}`));
  return matches.length === 1 ? matches[0] : undefined;
}

function findByName(images: readonly ImageRecord[], text: string): ImageRecord | undefined {
  let reference: Reference;
  try {
    reference = parseReference(text);
  } catch (caught) {
    // A name that no image can have names no image.
    if (caught instanceof HuskError) return undefined;
    throw caught;
  }
  const { digest } = reference;
  if (digest !== undefined) {
    const wanted = repoDigest(reference, digest);
    return images.find((image) => image.repoDigests.includes(wanted));
  }
  const tag = repoTag(reference);
  return tag === undefined ? undefined : images.find((image) => image.repoTags.includes(tag));
}

/** The record with the names it had, if it was there, and those of the reference it was pulled by. */
export function named(
  earlier: ImageRecord | undefined,
  reference: Reference,
  fresh: ImageRecord,
  digest: Digest,
): ImageRecord {
  const tag = repoTag(reference);
  const name = repositoryName(reference);
  // One repository may serve the same image under several manifests; the last pulled is the one to know.
  const digests = (earlier?.repoDigests ?? []).filter((each) => !each.startsWith(`${name}@`));
  return {
    ...fresh,
    repoTags: [...new Set([...(earlier?.repoTags ?? []), ...(tag === undefined ? [] : [tag])])],
    repoDigests: [...digests, repoDigest(reference, digest)],
  };
}

/** The record without a tag. */
export function withoutTag(record: ImageRecord, tag: string): ImageRecord {
  return { ...record, repoTags: record.repoTags.filter((each) => each !== tag) };
}
