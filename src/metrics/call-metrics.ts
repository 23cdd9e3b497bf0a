/** How often each CRI call came, how it ended, and how long it took. */
import type { CallObserver } from './call.ts';
import { DelayHistogram } from './event-loop.ts';
import { histogramSamples, type MetricFamily } from './exposition.ts';

export class CallMetrics {
  readonly #durations = new Map<string, DelayHistogram>();
  readonly #counts = new Map<string, { rpc: string; code: string; count: number }>();

  /** To be told of each call. */
  readonly observe: CallObserver = ({ rpc, code, ms }) => {
    const durations = this.#durations.get(rpc) ?? new DelayHistogram();
    this.#durations.set(rpc, durations);
    durations.add(ms);
    const known = this.#counts.get(`${rpc} ${code}`) ?? { rpc, code, count: 0 };
    this.#counts.set(`${rpc} ${code}`, known);
    known.count += 1;
  };

  families(): MetricFamily[] {
    return [
      {
        name: 'husk_cri_calls_total',
        help: 'CRI calls that have ended, by RPC and gRPC status.',
        type: 'counter',
        samples: [...this.#counts.values()].map(({ rpc, code, count }) => ({ labels: { rpc, code }, value: count })),
      },
      {
        name: 'husk_cri_call_duration_seconds',
        help: 'How long CRI calls took.',
        type: 'histogram',
        samples: [...this.#durations].flatMap(([rpc, durations]) =>
          histogramSamples(durations.buckets(), durations.sumMs, { rpc }),
        ),
      },
    ];
  }
}
