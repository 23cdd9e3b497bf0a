/** This process's own standard streams, as a direct run uses them. */
import { execFileSync } from 'node:child_process';
import { createWriteStream, fstatSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { isatty } from 'node:tty';
import { HuskError } from '../../base/errors.ts';
import type { ForegroundStreams } from '../../native/foreground.ts';
import type { Attachment, ClientStreams } from './attach.ts';

const sttyMs = 5_000;

interface Wanted {
  readonly tty: boolean;
  readonly stdin: boolean;
}

/** @throws HuskError `invalid-argument` when a terminal is wanted and there is none */
export function checkTerminal({ tty }: Wanted): void {
  if (!tty || (isatty(0) && isatty(1))) return;
  throw new HuskError('invalid-argument', '--tty: standard input and output are not a terminal', {
    stage: 'arguments',
    hint: 'leave out -t, or give it a terminal by script(1)',
  });
}

/** The descriptors themselves, for the OCI runtime. Node must not open them too: it would make pipes non-blocking for both. */
export function inheritedStreams({ tty, stdin }: Wanted): ForegroundStreams & Disposable {
  let resized = (): void => undefined;
  const onResize = (): void => resized();
  process.on('SIGWINCH', onResize);
  return {
    stdin: stdin ? 0 : 'ignore',
    stdout: 1,
    stderr: 2,
    size: tty ? terminalSize() : undefined,
    onResizer: (given) => {
      resized = given;
    },
    [Symbol.dispose]: () => void process.off('SIGWINCH', onResize),
  };
}

/** The streams for a client of ours. */
export function clientStreams({ stdin }: Wanted): ClientStreams {
  return { stdin: stdin ? process.stdin : undefined, stdout: output(1), stderr: output(2) };
}

/** Writes to a pipe by process.stdout would hold up everything, signals too, while the reader is slow. */
function output(fd: 1 | 2): Writable {
  if (isatty(fd)) return fd === 1 ? process.stdout : process.stderr;
  const found = fstatSync(fd);
  if (found.isFIFO() || found.isSocket()) return new Socket({ fd, readable: false, writable: true });
  return createWriteStream('', { fd, autoClose: false });
}

/**
 * Hands the terminal to the container: each key as it is pressed, and the size. Disposing takes it back.
 *
 * Node's own raw mode still turns each line feed into two characters, as the container's terminal has done already.
 */
export function rawTerminal(attachment: Pick<Attachment, 'resize'>): Disposable {
  const tell = (): void => attachment.resize(process.stdout.columns, process.stdout.rows);
  const before = stty(['-g']).trim();
  stty(['raw', '-echo']);
  process.stdout.on('resize', tell);
  tell();
  return {
    [Symbol.dispose]: () => {
      process.stdout.off('resize', tell);
      stty([before]);
    },
  };
}

function terminalSize(): ForegroundStreams['size'] {
  const [height, width] = stty(['size']).trim().split(' ').map(Number);
  return height && width ? { height, width } : undefined;
}

/** Of standard input; it returns at once. */
function stty(words: readonly string[]): string {
  return execFileSync('stty', words, { stdio: [0, 'pipe', 'inherit'], encoding: 'utf8', timeout: sttyMs });
}
