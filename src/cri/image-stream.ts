import type { StreamImagesRequest, StreamImagesResponse } from '../gen/cri/v1/api.ts';
import { batches } from './batches.ts';
import type { CriContext } from './context.ts';
import { listImages } from './image-list.ts';

/** StreamImages: ListImages in messages of bounded size. */
export async function* streamImages(
  context: Pick<CriContext, 'images'>,
  request: StreamImagesRequest,
): AsyncGenerator<StreamImagesResponse> {
  for (const images of batches(listImages(context, request).images)) yield { images };
}
