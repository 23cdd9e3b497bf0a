import type { Metadata } from '@grpc/grpc-js';
import type { RemoteParent } from '../base/trace.ts';

const form = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/;

/**
 * The caller's span of a `traceparent` header (W3C Trace Context, level 1, section 3.2); undefined
 * for none and for one that is not valid, which must be ignored.
 */
export function remoteParent(metadata: Metadata): RemoteParent | undefined {
  const [value] = metadata.get('traceparent');
  const match = form.exec(String(value ?? '').slice(0, 256));
  if (match === null) return undefined;
  const [, version = '', traceId = '', spanId = '', flags = ''] = match;
  // Version ff, and ids of nothing but zeros, are forbidden.
  if (version === 'ff' || /^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  // Version 00 ends with the flags.
  if (version === '00' && String(value).length !== 55) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}
