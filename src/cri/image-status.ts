import type { ImageStatusRequest, ImageStatusResponse } from '../gen/cri/v1/api.ts';
import type { Image } from '../images/image-store.ts';
import { checkImageSpec } from '../pod/validate/container-config.ts';
import type { CriContext } from './context.ts';
import { toWireImage } from './to-cri-image.ts';

/** ImageStatus: an absent image is a success without an image in it. */
export function imageStatus({ images }: Pick<CriContext, 'images'>, request: ImageStatusRequest): ImageStatusResponse {
  const image = images.get(checkImageSpec('image', request.image).image);
  if (image === undefined) return { image: undefined, info: {} };
  return { image: toWireImage(image), info: request.verbose ? verbose(image) : {} };
}

function verbose(image: Image): Record<string, string> {
  const layers = image.layers.map(({ diffId, sizeBytes }) => ({ diffId, sizeBytes }));
  return { layers: JSON.stringify(layers), config: JSON.stringify(image.config) };
}
