/** The pod annotations that limit bandwidth, as the CNI bandwidth plugin's users know them. Pure. */
import { HuskError } from '../base/errors.ts';
import type { Bandwidth } from './network.ts';

const units: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
};

/**
 * Reads `kubernetes.io/ingress-bandwidth` and `kubernetes.io/egress-bandwidth`, quantities in
 * bits per second from 1k to 1P, e.g. `10M`. Undefined when neither is there.
 *
 * @throws HuskError `invalid-argument` that names the annotation
 */
export function bandwidthOf(annotations: Readonly<Record<string, string>>): Bandwidth | undefined {
  const ingress = rate(annotations, 'kubernetes.io/ingress-bandwidth');
  const egress = rate(annotations, 'kubernetes.io/egress-bandwidth');
  if (ingress === undefined && egress === undefined) return undefined;
  return {
    ...(ingress === undefined ? {} : { ingressBitsPerSecond: ingress }),
    ...(egress === undefined ? {} : { egressBitsPerSecond: egress }),
  };
}

function rate(annotations: Readonly<Record<string, string>>, key: string): number | undefined {
  const text = annotations[key];
  if (text === undefined) return undefined;
  const match = /^(\d+(?:\.\d+)?)([kMGTP]?|[KMGTP]i)$/.exec(text.trim());
  const bits = Math.round(Number(match?.[1]) * (units[match?.[2] ?? ''] ?? Number.NaN));
  if (bits >= 1e3 && bits <= 1e15) return bits;
  throw new HuskError(
    'invalid-argument',
    `read annotation "${key}": found "${text.slice(0, 80)}", wanted bits per second from 1k to 1P`,
  );
}
