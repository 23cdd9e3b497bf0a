/** Ginkgo's JSON report as a table: what passed, what failed and why, what was skipped and why. */
import { HuskError } from '../../src/base/errors.ts';
import { expectedSkip } from './expected-skips.ts';

/** One spec's outcome. */
export interface SpecOutcome {
  /** Its containers and itself, as Ginkgo prints them. */
  readonly name: string;
  readonly state: 'passed' | 'failed' | 'skipped';
  readonly seconds: number;
  /** Why it failed or was skipped; empty when it passed. */
  readonly reason: string;
  /** It failed, or it was skipped and nobody said that it may be. */
  readonly unexpected: boolean;
}

/** One run of the suite. */
export interface RunReport {
  readonly seed: number;
  readonly seconds: number;
  readonly specs: readonly SpecOutcome[];
}

/** Numbers of outcomes. */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

interface GinkgoSpec {
  readonly ContainerHierarchyTexts: readonly string[] | null;
  readonly LeafNodeType: string;
  readonly LeafNodeText: string;
  readonly State: string;
  readonly RunTime: number;
  readonly Failure?: { readonly Message?: string; readonly ForwardedPanic?: string };
}
interface GinkgoReport {
  readonly SuiteConfig: { readonly RandomSeed: number };
  readonly RunTime: number;
  readonly SpecReports: readonly GinkgoSpec[] | null;
}

/**
 * Reads a report. Benchmarks are left out, and with a focus also what it left out.
 *
 * @param filtered true when a focus or a label chose the specs
 * @throws HuskError `internal` when it is no report
 */
export function readGinkgoReport(text: string, filtered: boolean): RunReport {
  const [suite] = JSON.parse(text) as GinkgoReport[];
  if (suite === undefined) throw new HuskError('internal', 'read the report of critest: it holds no suite');
  const specs = (suite.SpecReports ?? [])
    .filter((spec) => spec.LeafNodeType === 'It' || spec.State === 'failed' || spec.State === 'panicked')
    .filter((spec) => !/benchmark/.test(nameOf(spec)))
    .map(outcomeOf)
    .filter((spec) => !(filtered && spec.state === 'skipped' && spec.reason === notRun));
  const seconds = suite.RunTime / 1e9;
  return { seed: suite.SuiteConfig.RandomSeed, seconds, specs: specs.toSorted((a, b) => (a.name < b.name ? -1 : 1)) };
}

const notRun = 'not run';

function nameOf(spec: GinkgoSpec): string {
  return [...(spec.ContainerHierarchyTexts ?? []), spec.LeafNodeText || spec.LeafNodeType].join(' ');
}

function outcomeOf(spec: GinkgoSpec): SpecOutcome {
  const name = nameOf(spec);
  const message = [spec.Failure?.Message, spec.Failure?.ForwardedPanic].filter(Boolean).join(' ').trim();
  const known = expectedSkip(name);
  const skipped = spec.State === 'skipped' || spec.State === 'pending';
  const state = spec.State === 'passed' ? 'passed' : skipped ? 'skipped' : 'failed';
  const reason = state === 'passed' ? '' : skipped ? (known ?? (message || notRun)) : message || spec.State;
  const unexpected = state === 'failed' || (skipped && known === undefined);
  return { name, state, seconds: spec.RunTime / 1e9, reason, unexpected };
}

/**
 * The errors that the runtime answered with, each once with its number, from the suite's log: whether a
 * spec that wants an error got it for the right reason is for people to see.
 */
export function refusals(log: string): string[] {
  const counts = new Map<string, number>();
  for (const [, call = '', error = ''] of log.matchAll(/\] "([^"]*) failed" err="((?:[^"\\]|\\.)*)"/g)) {
    const text = `${call}: ${error.replaceAll('\\"', '"')}`
      .replaceAll(/[0-9a-f]{64}/g, 'ID')
      .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'UUID')
      .replaceAll(/(?<=\/tmp\/[^"\s]*?)[0-9]{6,}/g, 'N');
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return [...counts]
    .map(([text, count]) => `${String(count).padStart(4)} x ${text}`)
    .toSorted((a, b) => (a < b ? -1 : 1));
}

/** Counts. */
export function tally(specs: readonly SpecOutcome[]): Tally {
  const count = (state: SpecOutcome['state']): number => specs.filter((spec) => spec.state === state).length;
  return { passed: count('passed'), failed: count('failed'), skipped: count('skipped') };
}

/** The outcome of each spec, failures last, where they are seen. */
export function specTable(report: RunReport): string {
  const order = { skipped: 0, passed: 1, failed: 2 };
  const rows = report.specs.toSorted((a, b) => order[a.state] - order[b.state]);
  return rows
    .map((spec) => {
      const head = `${spec.state.padEnd(7)} ${spec.seconds.toFixed(1).padStart(6)} s  ${spec.name}`;
      return spec.reason === '' ? head : `${head}\n${indent(spec.reason)}`;
    })
    .join('\n');
}

/** Runs side by side; specs whose outcome is not the same in all are named. */
export function summaryTable(runs: ReadonlyMap<string, RunReport>): string {
  const width = Math.max(...[...runs.keys()].map((name) => name.length), 4);
  const lines = [`${'run'.padEnd(width)}  specs  passed  failed  skipped  seconds  seed`];
  for (const [name, run] of runs) {
    const { passed, failed, skipped } = tally(run.specs);
    const numbers = [
      [run.specs.length, 5],
      [passed, 7],
      [failed, 7],
      [skipped, 8],
      [Math.round(run.seconds), 8],
    ] as const;
    lines.push(`${name.padEnd(width)}  ${numbers.map(([n, w]) => String(n).padStart(w)).join(' ')}  ${run.seed}`);
  }
  const names = new Set([...runs.values()].flatMap((run) => run.specs.map((spec) => spec.name)));
  for (const name of [...names].toSorted()) {
    const states = [...runs].map(([run, { specs }]) => [run, specs.find((spec) => spec.name === name)?.state] as const);
    if (new Set(states.map(([, state]) => state)).size < 2) continue;
    lines.push(`differs: ${name}: ${states.map(([run, state]) => `${run} ${state ?? 'absent'}`).join(', ')}`);
  }
  return lines.join('\n');
}

function indent(text: string): string {
  return text
    .split('\n')
    .slice(0, 12)
    .map((line) => `          | ${line.slice(0, 400)}`)
    .join('\n');
}
