/**
 * The remote command protocol of Kubernetes, versions 1 to 5: names, streams, and what is said at the end. Pure.
 * Version 5 is version 4 with half-closes over WebSocket; over SPDY they are the same.
 */
import { describeError } from '../../base/errors.ts';

/** By SPDY and WebSocket name; the oldest has no number. */
export const protocolVersions: Readonly<Record<string, 1 | 2 | 3 | 4 | 5>> = {
  'channel.k8s.io': 1,
  'v2.channel.k8s.io': 2,
  'v3.channel.k8s.io': 3,
  'v4.channel.k8s.io': 4,
  'v5.channel.k8s.io': 5,
};

export type StreamName = 'error' | 'stdin' | 'stdout' | 'stderr' | 'resize';

export interface Wanted {
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

/** The streams a client opens: all must be there before the command runs. */
export function expectedStreams(wanted: Wanted, version: number): StreamName[] {
  return [
    'error',
    ...(wanted.stdin ? (['stdin'] as const) : []),
    ...(wanted.stdout ? (['stdout'] as const) : []),
    ...(wanted.stderr && !wanted.tty ? (['stderr'] as const) : []),
    ...(wanted.tty && version >= 3 ? (['resize'] as const) : []),
  ];
}

export type Outcome = { readonly exitCode: number } | { readonly error: unknown };

/** What is written to the error stream at the end. Nothing at all means success to the oldest clients. */
export function statusText(outcome: Outcome, version: number): string {
  if (version < 4) return plainStatus(outcome);
  if ('error' in outcome) {
    const message = `Internal error occurred: ${describeError(outcome.error)}`;
    return JSON.stringify({ metadata: {}, status: 'Failure', message, reason: 'InternalError', code: 500 });
  }
  if (outcome.exitCode === 0) return JSON.stringify({ metadata: {}, status: 'Success' });
  return JSON.stringify({
    metadata: {},
    status: 'Failure',
    message: exitMessage(outcome.exitCode),
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: String(outcome.exitCode) }] },
  });
}

function plainStatus(outcome: Outcome): string {
  if ('error' in outcome) return `error executing remote command: ${describeError(outcome.error)}`;
  return outcome.exitCode === 0 ? '' : exitMessage(outcome.exitCode);
}

function exitMessage(exitCode: number): string {
  return `command terminated with non-zero exit code: exit status ${exitCode}`;
}

/** Terminal sizes that come back to back as JSON. */
export class ResizeParser {
  #held = '';

  /** The last size in what has come; earlier ones do not matter any more. Garbage is dropped. */
  push(chunk: Buffer): { width: number; height: number } | undefined {
    this.#held = (this.#held + chunk.toString('latin1')).slice(-maxResizeText);
    let latest: { width: number; height: number } | undefined;
    for (;;) {
      const end = this.#held.indexOf('}');
      if (end < 0) return latest;
      latest = parseSize(this.#held.slice(this.#held.lastIndexOf('{', end), end + 1)) ?? latest;
      this.#held = this.#held.slice(end + 1);
    }
  }
}

const maxResizeText = 4096;
const maxCells = 65_535;

function parseSize(text: string): { width: number; height: number } | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null) return undefined;
    // kubectl writes `Width`, @kubernetes/client-node `width`: encoding/json, which the reference server reads with, takes both.
    const { width, height } = Object.fromEntries(
      Object.entries(value).map(([name, cells]): [string, unknown] => [name.toLowerCase(), cells]),
    );
    return isCells(width) && isCells(height) ? { width, height } : undefined;
  } catch {
    // A client's broken resize must not end the session: the next one counts.
    return undefined;
  }
}

function isCells(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= maxCells;
}
