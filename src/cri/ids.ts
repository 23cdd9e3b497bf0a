import { HuskError } from '../base/errors.ts';

/** Beyond a whole id nothing can match; the cap only keeps messages short. */
const maxIdChars = 256;

/**
 * An id, or the beginning of one, that came with a request. Whether it is known is the engine's matter.
 * @throws HuskError `invalid-argument` when it is empty, which as a prefix would match anything
 */
export function requireId(path: string, id: string): string {
  if (id === '') throw new HuskError('invalid-argument', `${path} "": empty, wanted an id`);
  if (id.length > maxIdChars) {
    throw new HuskError('invalid-argument', `${path}: ${id.length} characters, wanted at most ${maxIdChars}`);
  }
  return id;
}
