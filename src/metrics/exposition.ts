/** The Prometheus text format (version 0.0.4). Pure. */

export interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
  /** For histograms: `_bucket`, `_sum`, `_count`. */
  readonly suffix?: string;
}

export interface MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly samples: readonly Sample[];
}

/** The families as one page. */
export function exposition(families: readonly MetricFamily[]): string {
  return families.map(familyText).join('');
}

/** The samples of one histogram from cumulative buckets in milliseconds; told in seconds, as is the custom. */
export function histogramSamples(
  buckets: readonly { readonly le: number; readonly count: number }[],
  sumMs: number,
  labels: Readonly<Record<string, string>> = {},
): Sample[] {
  return [
    ...buckets.map(({ le, count }) => ({
      suffix: '_bucket',
      labels: { ...labels, le: Number.isFinite(le) ? String(le / 1000) : '+Inf' },
      value: count,
    })),
    { suffix: '_sum', labels, value: sumMs / 1000 },
    { suffix: '_count', labels, value: buckets.at(-1)?.count ?? 0 },
  ];
}

function familyText({ name, help, type, samples }: MetricFamily): string {
  const lines = samples.map(({ suffix = '', labels = {}, value }) => `${name}${suffix}${labelText(labels)} ${value}`);
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines, ''].join('\n');
}

function labelText(labels: Readonly<Record<string, string>>): string {
  const parts = Object.entries(labels).map(([key, value]) => `${key}="${escaped(value)}"`);
  return parts.length === 0 ? '' : `{${parts.join(',')}}`;
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
