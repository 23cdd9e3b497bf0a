import type { RemoveImageRequest, RemoveImageResponse } from '../gen/cri/v1/api.ts';
import { checkImageSpec } from '../pod/validate/container-config.ts';
import type { CriContext } from './context.ts';

/** RemoveImage: all names of the image; idempotent, and a success for one that is not here. */
export async function removeImage(
  { images }: Pick<CriContext, 'images'>,
  request: RemoveImageRequest,
): Promise<RemoveImageResponse> {
  await images.remove(checkImageSpec('image', request.image).image);
  return {};
}
