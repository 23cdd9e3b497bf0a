/** `critest -benchmark` of cri-tools (docs/benchmark.md there): what it writes, taken in. Pure. */
import { HuskError } from '../../src/base/errors.ts';

/** Durations in milliseconds by name of operation, in the order of the samples. */
export type CritestDurations = Readonly<Record<string, readonly number[]>>;

interface Datapoint {
  readonly sampleIndex: number;
  readonly operationsDurationsNs: readonly number[];
}

/** Reads `pod_benchmark_data.json` or `container_benchmark_data.json`. @throws HuskError `data-loss` */
export function parseCritest(text: string): CritestDurations {
  const parsed = JSON.parse(text) as { operationsNames?: unknown; datapoints?: unknown };
  const { operationsNames: names, datapoints } = parsed;
  if (!Array.isArray(names) || !Array.isArray(datapoints)) {
    throw new HuskError('data-loss', 'read results of critest: no operationsNames or no datapoints');
  }
  const points = (datapoints as Datapoint[]).toSorted((a, b) => a.sampleIndex - b.sampleIndex);
  return Object.fromEntries(
    names.map((name: unknown, index): [string, number[]] => [
      String(name),
      points.map(({ operationsDurationsNs }) => {
        const ns = operationsDurationsNs[index];
        if (typeof ns === 'number' && ns >= 0) return ns / 1e6;
        throw new HuskError('data-loss', `read results of critest: no duration of "${String(name)}" in a datapoint`);
      }),
    ]),
  );
}
