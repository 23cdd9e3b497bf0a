/**
 * The one error class of husk.
 *
 * Code branches on `kind`, never on text. `src/cri/errors.ts` maps every kind
 * to one gRPC code; nothing else in the tree knows gRPC codes.
 */

/** The closed set of error kinds. Their names follow the canonical gRPC codes where one fits. */
export const errorKinds = [
  'invalid-argument',
  'not-found',
  'already-exists',
  'failed-precondition',
  'resource-exhausted',
  'permission-denied',
  'unavailable',
  'unimplemented',
  'deadline-exceeded',
  'cancelled',
  'data-loss',
  'unknown',
  'internal',
] as const;

export type ErrorKind = (typeof errorKinds)[number];

export interface HuskErrorOptions {
  /** What went wrong underneath; kept, and shown in the daemon's log. */
  readonly cause?: unknown;
  /** The step of the life of a pod that failed, e.g. `cni-add`, `clone`, `pull-layer`. */
  readonly stage?: string;
  /** What the operator can do next, one plain sentence without a period. */
  readonly hint?: string;
}

/**
 * An error with a closed kind.
 *
 * Message style: the action that failed, the value in quotes, a colon, what was
 * found and what was wanted; no final period.
 */
export class HuskError extends Error {
  readonly kind: ErrorKind;
  readonly stage: string | undefined;
  readonly hint: string | undefined;

  constructor(kind: ErrorKind, message: string, options: HuskErrorOptions = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'HuskError';
    this.kind = kind;
    this.stage = options.stage;
    this.hint = options.hint;
  }

  /** Turns anything that was caught into a HuskError, keeping it as the cause. */
  static from(caught: unknown, stage?: string): HuskError {
    if (caught instanceof HuskError) {
      return caught.stage !== undefined || stage === undefined ? caught : caught.atStage(stage);
    }
    const text = caught instanceof Error ? caught.message : String(caught);
    return new HuskError(kindOf(caught), text, { cause: caught, ...(stage === undefined ? {} : { stage }) });
  }

  /** The same error, with the stage it happened at. */
  atStage(stage: string): HuskError {
    return new HuskError(this.kind, this.message, {
      cause: this,
      stage,
      ...(this.hint === undefined ? {} : { hint: this.hint }),
    });
  }
}

/** Whether a caught value is a HuskError of the kind. */
export function isKind(caught: unknown, kind: ErrorKind): boolean {
  return caught instanceof HuskError && caught.kind === kind;
}

/** Whether a caught value is a Node system error with the code, e.g. `ENOENT`. */
export function isErrno(caught: unknown, code: string): boolean {
  return caught instanceof Error && 'code' in caught && caught.code === code;
}

function kindOf(caught: unknown): ErrorKind {
  if (caught instanceof Error && caught.name === 'AbortError') return 'cancelled';
  return isErrno(caught, 'ENOSPC') || isErrno(caught, 'EDQUOT') ? 'resource-exhausted' : 'internal';
}

/** The text for a client: stage, message, causes (at most three) and the next step, on one line. */
export function describeError(caught: unknown): string {
  const error = HuskError.from(caught);
  const parts: string[] = [];
  let next: unknown = error;
  for (let depth = 0; depth < 4 && next instanceof Error; depth += 1) {
    const last = parts.at(-1);
    if (last === undefined || !last.includes(next.message)) parts.push(next.message);
    next = next.cause;
  }
  const stage = error.stage === undefined ? '' : `stage ${error.stage}: `;
  const hint = error.hint === undefined ? '' : ` (next step: ${error.hint})`;
  return stage + parts.join(': ') + hint;
}
