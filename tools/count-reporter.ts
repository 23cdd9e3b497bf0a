/** A reporter of node:test that writes one line, `passed failed skipped`, for tools/counts.sh. */
import type { TestEvent } from 'node:test/reporters';

export default async function* countReporter(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    // One such event per file, and one without a file for all.
    if (event.type !== 'test:summary' || event.data.file !== undefined) continue;
    const { passed, failed, cancelled, skipped, todo } = event.data.counts;
    yield `${passed} ${failed + cancelled} ${skipped + todo}\n`;
  }
}
