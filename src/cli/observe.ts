/** What watches the daemon's calls, as the settings have it: metrics, traces, or only what `husk timeline` shows. */
import { hostname } from 'node:os';
import { HuskError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { CallObserver } from '../metrics/call.ts';
import { CallMetrics } from '../metrics/call-metrics.ts';
import { serveMetrics } from '../metrics/endpoint.ts';
import { watchEventLoop } from '../metrics/event-loop.ts';
import { histogramSamples, type MetricFamily } from '../metrics/exposition.ts';
import { OtlpExporter } from '../metrics/otlp.ts';
import { PodTraces } from '../metrics/pod-traces.ts';
import { processFamilies } from '../metrics/process-metrics.ts';
import type { PodEngine } from '../pod/engine/pod-engine.ts';
import type { Config } from './config.ts';
import { version } from './version.ts';

export interface Observation extends AsyncDisposable {
  readonly observers: readonly CallObserver[];
  readonly podTraces: PodTraces;
}

/** @throws HuskError `invalid-argument` for an address or a URL that is none */
export async function startObservation(
  config: Pick<Config, 'metricsAddress' | 'tracingEndpoint'>,
  engine: Pick<PodEngine, 'sandboxes' | 'containers'>,
  log: Log,
): Promise<Observation> {
  const podTraces = new PodTraces();
  const observers: CallObserver[] = [podTraces.observe];
  await using stack = new AsyncDisposableStack();
  if (config.tracingEndpoint !== '') {
    const options = { endpoint: tracingUrl(config.tracingEndpoint), version, hostname: hostname(), log };
    observers.push(stack.use(new OtlpExporter(options)).observe);
  }
  if (config.metricsAddress !== '') {
    const calls = new CallMetrics();
    observers.push(calls.observe);
    const loop = watchEventLoop();
    stack.defer(() => loop.stop());
    const families = (): MetricFamily[] => [
      ...processFamilies(),
      {
        name: 'husk_event_loop_delay_seconds',
        help: 'How late a timer fires: what whatever comes in at that moment waits.',
        type: 'histogram',
        samples: histogramSamples(loop.delays.buckets(), loop.delays.sumMs),
      },
      podFamily(engine),
      ...calls.families(),
    ];
    const endpoint = stack.use(await serveMetrics(config.metricsAddress, families));
    log.info({ address: endpoint.address }, 'metrics are served');
  }
  const owned = stack.move();
  return { observers, podTraces, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function podFamily({ sandboxes }: Pick<PodEngine, 'sandboxes'>): MetricFamily {
  const counts = new Map<string, { runtime: string; state: string; count: number }>();
  for (const { runtime, status } of sandboxes.list({ id: '', state: undefined, labels: {} })) {
    const key = `${runtime} ${status.phase}`;
    const known = counts.get(key) ?? { runtime, state: status.phase, count: 0 };
    counts.set(key, { ...known, count: known.count + 1 });
  }
  return {
    name: 'husk_pods',
    help: 'Pods by runtime and state.',
    type: 'gauge',
    samples: [...counts.values()].map(({ runtime, state, count }) => ({ labels: { runtime, state }, value: count })),
  };
}

function tracingUrl(text: string): string {
  const url = URL.parse(text);
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url.href;
  throw new HuskError('invalid-argument', `--tracing-endpoint "${text}": must be an http or https URL`);
}
