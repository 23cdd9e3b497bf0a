/** Lines on the guest's console: sparing, since it is slow and its host keeps only the end. */
import { writeSync } from 'node:fs';
import { describeError } from '../../src/base/errors.ts';
import type { Log } from '../../src/base/log.ts';

const maxLineBytes = 500;

/** Writes warnings and errors to standard error, which PID 1 leads to the console. */
export function consoleLog(): Log {
  const line = (level: string) => (fields: object, message: string) => {
    writeSync(2, `agent ${level}: ${message} ${JSON.stringify(fields, readable).slice(0, maxLineBytes)}\n`);
  };
  const quiet = (): void => undefined;
  const log: Log = { debug: quiet, info: quiet, warn: line('warn'), error: line('error'), child: () => log };
  return log;
}

/** Errors have no fields of their own that JSON would show. */
function readable(_key: string, value: unknown): unknown {
  return value instanceof Error ? describeError(value) : value;
}
