/** Images in the words of CRI. Pure. */
import type { Image as WireImage } from '../gen/cri/v1/api.ts';
import type { Image } from '../images/image-store.ts';

/** An image on the wire. */
export function toWireImage(image: Image): WireImage {
  return {
    id: image.id,
    repoTags: [...image.repoTags],
    repoDigests: [...image.repoDigests],
    size: BigInt(image.sizeBytes),
    ...userOf(image.config.user),
    spec: undefined,
    pinned: image.pinned,
  };
}

/** The image's user: a number becomes `uid`, anything else `username`; the group is nobody's question. */
function userOf(user: string): Pick<WireImage, 'uid' | 'username'> {
  const [name = ''] = user.split(':');
  if (/^\d{1,10}$/.test(name)) return { uid: { value: BigInt(name) }, username: '' };
  return { uid: undefined, username: name };
}
