/**
 * Where the time of a call goes: spans, nested as the program's flow is nested.
 *
 * What a span belongs to is kept by the flow itself (AsyncLocalStorage), not handed along as a
 * parameter: a tool that is run, a namespace that is made need not know for whom. Without a trace
 * everything here does nothing. ADR 0121 says why.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';
// Named, and not the global: that one loads its modules at the first use, in the middle of a clone's first call.
import { performance } from 'node:perf_hooks';

/** One stretch of time of a trace. Times are milliseconds since the trace began, of the monotonic clock. */
export interface Span {
  /** Its place in the trace's list. */
  readonly index: number;
  /** The place of the span around it; -1 for the first. */
  readonly parent: number;
  readonly name: string;
  readonly startMs: number;
  /** Equal to the start for an instant. */
  endMs: number;
  failed: boolean;
  readonly attributes: Record<string, string | number>;
}

/** Who asked: a caller's span (W3C Trace Context). */
export interface RemoteParent {
  /** 32 hex digits. */
  readonly traceId: string;
  /** 16 hex digits. */
  readonly spanId: string;
  /** The caller records this trace. */
  readonly sampled: boolean;
}

export interface Trace {
  /** 32 hex digits: the caller's, or our own. */
  readonly traceId: string;
  readonly remote: RemoteParent | undefined;
  /** Wall clock at its beginning, nanoseconds since the epoch. */
  readonly startedAtNs: bigint;
  readonly spans: readonly Span[];
  /** Spans above the limit, which were not kept. */
  readonly dropped: number;
}

interface Open {
  readonly startMs: number;
  readonly spans: Span[];
  dropped: number;
  ended: boolean;
}

interface Place {
  readonly trace: Open;
  readonly span: Span;
}

/** No call of ours has as many steps; a loop that makes spans must not eat memory. */
const maxSpans = 512;
const places = new AsyncLocalStorage<Place>();

/**
 * Runs work as the first span of a new trace.
 *
 * @param onEnd gets the trace when the work has ended, however it did
 */
export async function traced<T>(
  name: string,
  remote: RemoteParent | undefined,
  onEnd: (trace: Trace) => void,
  work: () => Promise<T>,
): Promise<T> {
  const startedAtNs = BigInt(Date.now()) * 1_000_000n;
  const open: Open = { startMs: performance.now(), spans: [], dropped: 0, ended: false };
  const first = begin(open, name, -1) as Span;
  try {
    return await places.run({ trace: open, span: first }, work);
  } catch (caught) {
    first.failed = true;
    throw caught;
  } finally {
    first.endMs = since(open);
    open.ended = true;
    const traceId = remote?.traceId ?? randomBytes(16).toString('hex');
    onEnd({ traceId, remote, startedAtNs, spans: open.spans, dropped: open.dropped });
  }
}

/** Runs work as a span of the trace around it; outside a trace it just runs. */
export async function span<T>(
  name: string,
  work: () => Promise<T>,
  attributes: Readonly<Record<string, string | number>> = {},
): Promise<T> {
  const place = places.getStore();
  const made = place && begin(place.trace, name, place.span.index, attributes);
  if (place === undefined || made === undefined) return await work();
  try {
    return await places.run({ trace: place.trace, span: made }, work);
  } catch (caught) {
    made.failed = true;
    throw caught;
  } finally {
    // What ends after its trace has been handed on stays as it was handed on.
    if (!place.trace.ended) made.endMs = since(place.trace);
  }
}

/** Notes an instant. */
export function mark(name: string): void {
  const place = places.getStore();
  if (place !== undefined) begin(place.trace, name, place.span.index);
}

/** Adds what is known of the span that is under way. */
export function annotate(attributes: Readonly<Record<string, string | number>>): void {
  const place = places.getStore();
  if (place !== undefined && !place.trace.ended) Object.assign(place.span.attributes, attributes);
}

/**
 * Adds what another machine did during the span that is under way, of which only its own clock tells. It is
 * put in the middle: what is left of the span was spent on the way there and back.
 *
 * @param prefix put before each name
 * @param steps microseconds since the other machine began; the first one holds all others
 */
export function graft(
  prefix: string,
  steps: readonly { readonly name: string; readonly startUs: number; readonly endUs: number }[],
): void {
  const place = places.getStore();
  if (place === undefined || place.trace.ended) return;
  const { trace, span: around } = place;
  const total = Math.max(0, ...steps.map(({ endUs }) => endUs)) / 1000;
  const elapsed = since(trace) - around.startMs;
  const offset = around.startMs + Math.max(0, (elapsed - total) / 2);
  let parent = around.index;
  for (const { name, startUs, endUs } of steps) {
    const made = begin(trace, `${prefix} ${name}`, parent);
    if (made === undefined) return;
    Object.assign(made, { startMs: offset + startUs / 1000, endMs: offset + endUs / 1000 });
    // The first is the whole of what the other machine did.
    if (parent === around.index) parent = made.index;
  }
}

function begin(
  trace: Open,
  name: string,
  parent: number,
  attributes: Readonly<Record<string, string | number>> = {},
): Span | undefined {
  if (trace.ended) return undefined;
  if (trace.spans.length >= maxSpans) {
    trace.dropped += 1;
    return undefined;
  }
  const startMs = since(trace);
  const index = trace.spans.length;
  const made: Span = { index, parent, name, startMs, endMs: startMs, failed: false, attributes: { ...attributes } };
  trace.spans.push(made);
  return made;
}

function since({ startMs }: Open): number {
  return Math.round((performance.now() - startMs) * 1000) / 1000;
}
