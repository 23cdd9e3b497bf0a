/** Answers of the streaming list calls: each item in exactly one message, none at all when there is nothing. */

/** A message of so many items stays far below what a client takes. */
const batchItems = 500;

/** Cuts a list into messages. */
export function* batches<Item>(items: readonly Item[]): Generator<Item[]> {
  for (let at = 0; at < items.length; at += batchItems) yield items.slice(at, at + batchItems);
}
