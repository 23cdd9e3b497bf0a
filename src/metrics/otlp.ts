/**
 * Sends traces to an OpenTelemetry collector: OTLP over HTTP, JSON encoding. Written by hand: the
 * spans are there already, and the official exporter brings more code than huskd has (ADR 0121).
 */
import { randomBytes } from 'node:crypto';
import type { Log } from '../base/log.ts';
import type { Span, Trace } from '../base/trace.ts';
import type { CallObserver } from './call.ts';
import { isLifecycle } from './pod-traces.ts';

export interface OtlpOptions {
  /** Where traces go: `http://HOST:PORT/v1/traces`. */
  readonly endpoint: string;
  readonly version: string;
  readonly hostname: string;
  readonly log: Log;
}

const maxWaitingSpans = 4_096;
const maxBatchSpans = 512;
const flushMs = 1_000;
const requestMs = 5_000;
const closeMs = 2_000;
/** OTLP: SPAN_KIND_INTERNAL, SPAN_KIND_SERVER, STATUS_CODE_ERROR. */
const kinds = { internal: 1, server: 2 } as const;
const statusError = 2;

interface Waiting {
  readonly spans: readonly object[];
}

/** Batches and sends; a collector that is slow or gone costs dropped spans, never a pod. */
export class OtlpExporter implements AsyncDisposable {
  readonly #options: OtlpOptions;
  #waiting: Waiting[] = [];
  #waitingSpans = 0;
  #dropped = 0;
  #timer: NodeJS.Timeout | undefined;
  #sending: Promise<void> = Promise.resolve();

  constructor(options: OtlpOptions) {
    this.#options = options;
  }

  /**
   * To be told of each call. Kept are calls whose caller records a trace and, where the caller
   * says nothing, those of a pod's life: polls would drown them.
   */
  readonly observe: CallObserver = ({ rpc, code, podId, trace }) => {
    if (trace.remote === undefined ? !isLifecycle(rpc) : !trace.remote.sampled) return;
    const spans = otlpSpans(trace, { code, podId });
    if (this.#waitingSpans + spans.length > maxWaitingSpans) {
      this.#dropped += spans.length;
      return;
    }
    this.#waiting.push({ spans });
    this.#waitingSpans += spans.length;
    this.#timer ??= setTimeout(() => this.#flush(), flushMs).unref();
    if (this.#waitingSpans >= maxBatchSpans) this.#flush();
  };

  /** Sends what waits, within a moment. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#flush();
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, closeMs);
    await Promise.race([this.#sending, late]);
    clearTimeout(timer);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#waiting.length === 0) return;
    const spans = this.#waiting.flatMap((one) => one.spans);
    this.#waiting = [];
    // One request at a time; those that wait for their turn count against the limit.
    this.#sending = this.#sending.then(() => this.#send(spans));
  }

  async #send(spans: readonly object[]): Promise<void> {
    const { endpoint, log } = this.#options;
    try {
      const answer = await fetch(endpoint, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(otlpRequest(this.#options, spans)),
        signal: AbortSignal.timeout(requestMs),
        redirect: 'error',
      });
      await answer.body?.cancel();
      if (!answer.ok) log.warn({ endpoint, status: answer.status, spans: spans.length }, 'traces refused');
    } catch (caught) {
      log.warn({ endpoint, err: caught, spans: spans.length, dropped: this.#dropped }, 'traces not sent');
    } finally {
      this.#waitingSpans -= spans.length;
    }
  }
}

/** The body of an ExportTraceServiceRequest (opentelemetry-proto, OTLP/JSON). Pure. */
export function otlpRequest(options: Pick<OtlpOptions, 'version' | 'hostname'>, spans: readonly object[]): object {
  const resource = attributes({
    'service.name': 'husk',
    'service.version': options.version,
    'host.name': options.hostname,
  });
  const scopeSpans = [{ scope: { name: 'husk', version: options.version }, spans }];
  return { resourceSpans: [{ resource: { attributes: resource }, scopeSpans }] };
}

/** The spans of a call; the first is a child of the caller's. */
export function otlpSpans(trace: Trace, call: { readonly code: string; readonly podId: string }): object[] {
  const prefix = randomBytes(4).toString('hex');
  // Never all zeros: the number is that of the place and one.
  const idOf = (index: number): string => prefix + (index + 1).toString(16).padStart(8, '0');
  return trace.spans.map((span) => ({
    traceId: trace.traceId,
    spanId: idOf(span.index),
    parentSpanId: span.parent < 0 ? (trace.remote?.spanId ?? '') : idOf(span.parent),
    name: span.name,
    kind: span.parent < 0 ? kinds.server : kinds.internal,
    startTimeUnixNano: unixNano(trace, span.startMs),
    endTimeUnixNano: unixNano(trace, span.endMs),
    attributes: attributes(span.parent < 0 ? { ...callAttributes(span, call) } : span.attributes),
    status: span.failed ? { code: statusError } : {},
  }));
}

function callAttributes(span: Span, { code, podId }: { code: string; podId: string }): Record<string, string | number> {
  return {
    ...span.attributes,
    'rpc.system': 'grpc',
    'rpc.method': span.name,
    'rpc.response.status_code': code,
    ...(podId === '' ? {} : { 'husk.pod.id': podId }),
  };
}

function unixNano({ startedAtNs }: Trace, ms: number): string {
  return (startedAtNs + BigInt(Math.round(ms * 1e6))).toString();
}

function attributes(values: Readonly<Record<string, string | number>>): object[] {
  return Object.entries(values).map(([key, value]) => ({
    key,
    value: typeof value === 'number' ? { doubleValue: value } : { stringValue: value },
  }));
}
