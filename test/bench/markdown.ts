/** The report as Markdown. Pure. */
import { explainCalls } from './explain.ts';
import type { LoadLook } from './load.ts';
import { middleTrace, type Results } from './results.ts';
import { type Row, rowsOf } from './table.ts';

const mib = 1024 * 1024;

/**
 * The whole report; the plots' files are named as given.
 * @param details where the explanations of missed metrics are to be found; empty: here
 */
export function markdown(
  results: Results,
  plots: readonly { readonly file: string; readonly title: string }[],
  details: string = '',
): string {
  return [
    `## Benchmark of ${results.startedAt.slice(0, 16).replace('T', ' ')} UTC (${results.plan})`,
    '',
    ...validity(results.invalid),
    ...table(rowsOf(results)),
    '',
    ...notMeasured(rowsOf(results)),
    ...conditions(results),
    ...(details === '' ? missed(results) : [`Where the missed metrics go: [${details}](${details}).`, '']),
    ...plots.flatMap(({ file, title }) => [`![${title}](${file})`, '']),
  ].join('\n');
}

function validity(reasons: readonly string[]): string[] {
  if (reasons.length === 0) return [];
  return ['**INVALID: these figures must not be used.**', '', ...reasons.map((reason) => `- ${reason}`), ''];
}

function table(rows: readonly Row[]): string[] {
  return [
    '| Metric | unit | husk p50 | p90 | n | peer | peer p50 | p90 | n | figure | 95 % interval | target | stretch | verdict |',
    '| --- | --- | --: | --: | --: | --- | --: | --: | --: | --: | --- | --: | --: | --- |',
    ...rows.map(line),
  ];
}

function line({ metric, husk, peer, judged, interval, verdict }: Row): string {
  const { unit, judge, target, stretch } = metric;
  const isRatio = judge.kind === 'ratio';
  const judgedText = judged === undefined ? '' : `${isRatio ? 'ratio ' : ''}${number(judged)}`;
  const range = interval === undefined ? '' : `${number(interval.low)} to ${number(interval.high)}`;
  const bound = (value: number | undefined): string =>
    value === undefined ? '' : `${judge.better === 'lower' ? '≤' : '≥'} ${number(value)}`;
  const cells = [
    metric.title,
    unit,
    ...(husk === undefined ? ['', '', '0'] : [number(husk.p50), number(husk.p90), String(husk.count)]),
    judge.peer,
    ...(peer === undefined ? ['', '', '0'] : [number(peer.p50), number(peer.p90), String(peer.count)]),
    judgedText,
    range,
    bound(target),
    bound(stretch),
    verdict === 'missed' ? '**missed**' : verdict,
  ];
  return `| ${cells.join(' | ')} |`;
}

function notMeasured(rows: readonly Row[]): string[] {
  const lines = rows.filter(({ why }) => why !== '').map(({ metric, why }) => `- ${metric.title}: ${why}`);
  return lines.length === 0 ? [] : ['Not measured:', '', ...lines, ''];
}

/** Of each metric that misses its target, where it goes. */
function missed(results: Results): string[] {
  const trace = middleTrace(results.traces);
  const blocks = rowsOf(results)
    .filter(({ verdict }) => verdict === 'missed')
    .flatMap(({ metric }) => {
      const text = results.explanations[metric.id] ?? explainCalls(metric.id, trace);
      return text === '' ? [] : [`${metric.title}:`, '', '```text', text.trimEnd(), '```', ''];
    });
  return blocks.length === 0
    ? []
    : ['Where the missed metrics go (of the pod in the middle, where it is one):', '', ...blocks];
}

function conditions({ conditions: found, plan, seconds }: Results): string[] {
  const { machine, versions, accelerator, acceleratorReason, load, pool } = found;
  const looks = load.filter(({ seconds }) => seconds > 0);
  const worst = looks.reduce((most, { foreignShare }) => Math.max(most, foreignShare), 0);
  return [
    `Conditions: plan ${plan}; ${machine.cpu}, ${machine.cores} cores, ${Math.round(machine.memoryBytes / mib)} MiB, ` +
      `kernel ${machine.kernel}, cgroups ${machine.cgroups}, ${machine.distribution}. ` +
      `Accelerator ${accelerator} (${acceleratorReason}). Pool: ${pool}.`,
    `Versions: ${Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join('; ')}.`,
    `Load: average ${loadText(looks.at(0))} before, ${loadText(looks.at(-1))} at the end; all foreign processes together used at most ` +
      `${(worst * 100).toFixed(0)} % of a core in ${looks.length} looks.`,
    `Time: ${Object.entries(seconds)
      .map(([section, took]) => `${section} ${took.toFixed(0)} s`)
      .join(', ')}.`,
    '',
  ];
}

function loadText(look: LoadLook | undefined): string {
  return look === undefined ? 'unknown' : look.loadAverage.toFixed(2);
}

/** Three significant digits, without an exponent. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (Math.abs(value) >= 100) return value.toFixed(0);
  if (Math.abs(value) >= 10) return value.toFixed(1);
  if (Math.abs(value) >= 1) return value.toFixed(2);
  return value.toFixed(Math.abs(value) >= 0.1 ? 3 : 4);
}
