/** What differs between two observations of one case, and which differences are meant. */
import type { Facts } from './probe.ts';

export interface Difference {
  readonly key: string;
  /** Undefined: the fact is not there. */
  readonly reference: string | undefined;
  readonly seen: string | undefined;
}

/** A difference that is meant: facts whose key matches, for one runtime or both, and why. */
export interface Exception {
  readonly runtime: 'vm' | 'native' | 'both';
  readonly key: RegExp;
  /** What is seen then; absent: whatever it is. A fact that is not there is the empty text. */
  readonly seen?: RegExp;
  /** Not there on every machine. */
  readonly sometimes?: boolean;
  readonly reason: string;
}

/** All differences, in the order of their keys. */
export function differences(reference: Facts, seen: Facts): Difference[] {
  const keys = [...new Set([...reference.keys(), ...seen.keys()])].sort();
  return keys
    .map((key) => ({ key, reference: reference.get(key), seen: seen.get(key) }))
    .filter((each) => each.reference !== each.seen);
}

/** The exception that covers a difference, if one does. */
export function exceptionFor(
  difference: Difference,
  runtime: 'vm' | 'native',
  exceptions: readonly Exception[],
): Exception | undefined {
  return exceptions.find(
    ({ runtime: which, key, seen }) =>
      (which === 'both' || which === runtime) &&
      key.test(difference.key) &&
      (seen?.test(difference.seen ?? '') ?? true),
  );
}
