/** Finding a record by its id or the beginning of it. */
import { HuskError } from '../base/errors.ts';
import { isId } from '../base/ids.ts';
import type { RecordStore } from '../base/records.ts';

const prefixPattern = /^[0-9a-f]{1,63}$/;

/**
 * The record of an id, or the only one whose id begins with the text. What cannot be an id
 * is simply unknown: it is never used to look anything up.
 *
 * @param what the kind of thing, for messages: `pod sandbox`
 * @throws HuskError `invalid-argument` when several ids begin so
 */
export function findById<T extends { readonly id: string }>(
  store: RecordStore<T>,
  idOrPrefix: string,
  what: string,
): T | undefined {
  if (isId(idOrPrefix)) return store.get(idOrPrefix);
  if (!prefixPattern.test(idOrPrefix)) return undefined;
  const found = store.list().filter((record) => record.id.startsWith(idOrPrefix));
  if (found.length > 1) {
    throw new HuskError(
      'invalid-argument',
      `find ${what} "${idOrPrefix}": ${found.length} ids begin so, wanted one; give more digits`,
    );
  }
  return found[0];
}
