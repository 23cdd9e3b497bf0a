/** The event-loop delays of huskd over a span of time, from its metrics endpoint. */

export type Buckets = { readonly le: number; readonly count: number }[];

const metric = 'husk_event_loop_delay_seconds';
const timeoutMs = 5_000;

/** Starts a span; undefined when the endpoint is not there. */
export async function loopDelays(url: string): Promise<{ since(): Promise<Buckets | undefined> } | undefined> {
  const before = await read(url);
  if (before === undefined) return undefined;
  return {
    async since() {
      const now = await read(url);
      return now?.map(({ le, count }, index) => ({ le, count: count - (before[index]?.count ?? 0) }));
    },
  };
}

/** The buckets of the histogram, bounds in milliseconds; empty when the text has none. Pure. */
export function parseBuckets(text: string): Buckets {
  const lines = text.matchAll(new RegExp(`^${metric}_bucket\\{le="([^"]+)"\\} (\\d+)$`, 'gm'));
  return [...lines].map(([, le = '', count = '']) => ({
    le: le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le) * 1000,
    count: Number(count),
  }));
}

async function read(url: string): Promise<Buckets | undefined> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(timeoutMs) }).catch(() => undefined);
  if (answer === undefined) return undefined;
  const buckets = parseBuckets(await answer.text());
  return buckets.length === 0 ? undefined : buckets;
}
