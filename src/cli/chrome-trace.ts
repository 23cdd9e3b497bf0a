/**
 * The calls of a pod's life in Chrome's trace format, for chrome://tracing and ui.perfetto.dev
 * (Trace Event Format, complete and instant events). Pure.
 */
import type { Span } from '../base/trace.ts';
import type { CallTrace } from '../metrics/pod-traces.ts';
import { inOrder } from './call-tree.ts';

export interface ChromeEvent {
  readonly name: string;
  readonly ph: 'X' | 'i' | 'M';
  /** Microseconds. */
  readonly ts?: number;
  readonly dur?: number;
  readonly pid: number;
  readonly tid: number;
  readonly cat?: string;
  readonly s?: 't';
  readonly args?: Readonly<Record<string, unknown>>;
}

export interface ChromeTrace {
  readonly displayTimeUnit: 'ms';
  readonly traceEvents: readonly ChromeEvent[];
}

const usPerMs = 1000;

/**
 * A viewer stacks what lies in one row and takes what overlaps for nested, so spans that run beside
 * one another get rows of their own.
 */
export function chromeTrace(podId: string, calls: readonly CallTrace[]): ChromeTrace {
  const events: ChromeEvent[] = [{ name: 'process_name', ph: 'M', pid: 1, tid: 0, args: { name: `pod ${podId}` } }];
  const ordered = calls.toSorted((a, b) => (BigInt(a.startedAtNs) < BigInt(b.startedAtNs) ? -1 : 1));
  const [first] = ordered;
  let rows = 0;
  for (const { rpc, code, startedAtNs, spans } of ordered) {
    const offsetMs = Number(BigInt(startedAtNs) - BigInt(first?.startedAtNs ?? startedAtNs)) / 1e6;
    for (const { span, row } of rowsOf(spans)) {
      rows = Math.max(rows, row + 1);
      events.push(toEvent(span, { rpc, offsetMs, row, code }));
    }
  }
  for (let row = 0; row < rows; row += 1) {
    events.push({
      name: 'thread_name',
      ph: 'M',
      pid: 1,
      tid: row,
      args: { name: row === 0 ? 'calls' : `beside ${row}` },
    });
  }
  return { displayTimeUnit: 'ms', traceEvents: events };
}

/** Each span in the row of its parent, or in the first one where nothing of that time is. */
export function rowsOf(spans: readonly Span[]): { readonly span: Span; readonly row: number }[] {
  const placed: { span: Span; row: number }[] = [];
  const rowOf = new Map<number, number>();
  for (const span of inOrder(spans)) {
    let row = rowOf.get(span.parent) ?? 0;
    const around = ancestors(spans, span);
    while (placed.some((other) => other.row === row && !around.has(other.span.index) && collides(other.span, span)))
      row += 1;
    placed.push({ span, row });
    rowOf.set(span.index, row);
  }
  return placed;
}

/** Whether both want the row at some moment. Instants take no room. */
function collides(a: Span, b: Span): boolean {
  if (a.startMs === a.endMs || b.startMs === b.endMs) return false;
  return a.endMs > b.startMs && b.endMs > a.startMs;
}

function ancestors(spans: readonly Span[], { index, parent }: Span): Set<number> {
  const found = new Set<number>();
  // A parent always comes before its children, so this ends.
  for (let at = parent; at >= 0 && at < index && !found.has(at); at = spans[at]?.parent ?? -1) found.add(at);
  return found;
}

function toEvent(
  { name, startMs, endMs, attributes, failed }: Span,
  { rpc, code, offsetMs, row }: { rpc: string; code: string; offsetMs: number; row: number },
): ChromeEvent {
  const ts = Math.round((offsetMs + startMs) * usPerMs);
  const args = { rpc, ...attributes, ...(failed ? { failed, code } : {}) };
  const common = { name, cat: rpc, ts, pid: 1, tid: row, args };
  if (endMs === startMs) return { ...common, ph: 'i', s: 't' };
  return { ...common, ph: 'X', dur: Math.max(1, Math.round((endMs - startMs) * usPerMs)) };
}
