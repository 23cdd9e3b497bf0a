/** The calls of a pod's life as text: a tree of spans with times, bars and what children cost. Pure. */
import type { Span } from '../base/trace.ts';
import type { CallTrace } from '../metrics/pod-traces.ts';

const barWidth = 32;
/** Instants are lines without a length: this is their sign in the column of lengths. */
const instant = '·';

/** Each call with its spans, in the order in which the calls began. */
export function callTreeText(calls: readonly CallTrace[]): string {
  return calls
    .toSorted((a, b) => (BigInt(a.startedAtNs) < BigInt(b.startedAtNs) ? -1 : 1))
    .map(callText)
    .join('\n');
}

function callText({ rpc, code, startedAtNs, spans }: CallTrace): string {
  const total = spans[0]?.endMs ?? 0;
  const at = new Date(Number(BigInt(startedAtNs) / 1_000_000n)).toISOString();
  const rows = inOrder(spans).map((span) => ({ span, label: `${'  '.repeat(depthOf(spans, span))}${span.name}` }));
  const width = Math.max(...rows.map(({ label }) => label.length), 0);
  const lines = rows.map(({ span, label }) => {
    const took = span.endMs > span.startMs ? `${(span.endMs - span.startMs).toFixed(1)} ms` : instant;
    return `${label.padEnd(width)} ${span.startMs.toFixed(1).padStart(9)} ${took.padStart(11)}  ${bar(span, total)}${notes(span)}`;
  });
  return [`${rpc} ${code} at ${at}`, ...lines, ''].join('\n');
}

function bar({ startMs, endMs }: Span, total: number): string {
  if (total <= 0) return '';
  const from = Math.min(barWidth - 1, Math.floor((startMs / total) * barWidth));
  const length = endMs > startMs ? Math.max(1, Math.round(((endMs - startMs) / total) * barWidth)) : 1;
  const sign = endMs > startMs ? '▇' : '|';
  return `${' '.repeat(from)}${sign.repeat(Math.min(length, barWidth - from))}`.padEnd(barWidth + 1);
}

function notes({ attributes, failed }: Span): string {
  const told = Object.entries(attributes).map(([key, value]) => `${key}=${value}`);
  return [...(failed ? ['FAILED'] : []), ...told].map((note) => ` ${note}`).join('');
}

/** Parents before their children, children by their beginning. */
export function inOrder(spans: readonly Span[]): Span[] {
  const below = (parent: number): Span[] =>
    spans
      .filter((span) => span.parent === parent && span.index !== parent)
      .toSorted((a, b) => a.startMs - b.startMs || a.index - b.index)
      .flatMap((span) => [span, ...below(span.index)]);
  return below(-1);
}

function depthOf(spans: readonly Span[], span: Span): number {
  let depth = 0;
  for (let at = spans[span.parent]; at !== undefined && depth < spans.length; at = spans[at.parent]) depth += 1;
  return depth;
}
