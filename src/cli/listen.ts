import { HuskError } from '../base/errors.ts';

/** Room for a UNIX socket's path (unix(7): 108 with the NUL). */
const maxPathBytes = 107;

/**
 * The path of a `unix://` URL.
 * @throws HuskError `invalid-argument` for another scheme, a relative or a too long path
 */
export function socketPathOf(url: string): string {
  const path = url.startsWith('unix://') ? url.slice('unix://'.length) : '';
  if (path.startsWith('/') && Buffer.byteLength(path) <= maxPathBytes) return path;
  throw new HuskError(
    'invalid-argument',
    `--listen "${url}": must be unix:// and an absolute path of at most ${maxPathBytes} bytes`,
  );
}
