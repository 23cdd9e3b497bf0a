import type { ListImagesRequest, ListImagesResponse } from '../gen/cri/v1/api.ts';
import type { CriContext } from './context.ts';
import { toWireImage } from './to-cri-image.ts';

/** ListImages: all, or the one that the filter's reference means. */
export function listImages({ images }: Pick<CriContext, 'images'>, request: ListImagesRequest): ListImagesResponse {
  const reference = request.filter?.image?.image ?? '';
  if (reference === '') return { images: images.list().map(toWireImage) };
  const found = images.get(reference);
  return { images: found === undefined ? [] : [toWireImage(found)] };
}
