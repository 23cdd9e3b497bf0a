/** A reporter of node:test that writes one line, `passed failed skipped`, for tools/counts.sh. */
import type { TestEvent } from 'node:test/reporters';

/** The default export is how node:test finds a reporter. */
export default async function* countReporter(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    // One such event per file, and one without a file for all.
    if (event.type !== 'test:summary' || event.data.file !== undefined) continue;
    const { tests, passed, skipped, todo } = event.data.counts;
    const left = skipped + todo;
    yield `${passed} ${tests - passed - left} ${left}\n`;
  }
}
