/** What Exec and Attach have in common: which of the three streams a client wants. */
import { HuskError } from '../base/errors.ts';

interface StreamFields {
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

/**
 * The rules of CRI (`ExecRequest`, `AttachRequest`), with the words of the reference server.
 * @throws HuskError `invalid-argument`
 */
export function checkStreams({ tty, stdin, stdout, stderr }: StreamFields): StreamFields {
  if (tty && stderr) throw new HuskError('invalid-argument', 'tty, stderr "true": tty and stderr cannot both be true');
  if (!stdin && !stdout && !stderr)
    throw new HuskError('invalid-argument', 'stdin, stdout, stderr "false": one of them must be set');
  return { tty, stdin, stdout, stderr };
}
