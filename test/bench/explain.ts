/** Where a metric goes, as text for the report: by program for time and memory, by step for calls. Pure but for reading memory. */
import { callTreeText } from '../../src/cli/call-tree.ts';
import { memoryOf, type Process } from './processes.ts';
import type { PodTrace } from './results.ts';

const megabyte = 1_000_000;

/** The calls that make up a metric; the others explain themselves when they are measured. */
const callsOfMetric: Readonly<Record<string, readonly string[]>> = {
  run: ['RunPodSandbox'],
  create: ['CreateContainer'],
  start: ['StartContainer'],
  ready: ['RunPodSandbox', 'CreateContainer', 'StartContainer'],
  tti: ['RunPodSandbox', 'CreateContainer', 'StartContainer', 'ExecSync'],
  'exec-first': ['ExecSync'],
  exec: ['ExecSync'],
  'stop-remove': ['StopPodSandbox'],
};

/** The steps of the calls of a metric; empty for a metric that is no such calls. Of several execs the last counts. */
export function explainCalls(metric: string, trace: PodTrace | undefined): string {
  const wanted = callsOfMetric[metric];
  if (wanted === undefined || trace === undefined) return '';
  const last = new Map(trace.calls.map((call) => [call.rpc, call]));
  return callTreeText(wanted.flatMap((rpc) => last.get(rpc) ?? []));
}

/** Who used how much CPU between two looks at the processes. */
export function explainCpu(
  before: ReadonlyMap<number, Process>,
  now: ReadonlyMap<number, Process>,
  ours: Iterable<number>,
  elapsedMs: number,
): string {
  const used = [...ours].flatMap((pid): [string, number][] => {
    const found = now.get(pid);
    return found === undefined ? [] : [[found.name, found.ownCpuMs - (before.get(pid)?.ownCpuMs ?? 0)]];
  });
  return byName(used, (name, count, ms) => `${name} × ${count}: ${ms} ms of CPU, ${share(ms, elapsedMs * count)} each`);
}

/** Who holds how much memory. */
export function explainMemory(processes: ReadonlyMap<number, Process>, ours: Iterable<number>): string {
  const held = [...ours].map((pid): [string, number] => [
    processes.get(pid)?.name ?? 'ended',
    memoryOf([pid]).rssBytes / megabyte,
  ]);
  return byName(
    held,
    (name, count, mb) => `${name} × ${count}: RSS ${mb.toFixed(1)} MB, ${(mb / count).toFixed(1)} each`,
  );
}

/** Sums by name, the largest first. */
function byName(
  values: readonly (readonly [name: string, value: number])[],
  line: (name: string, count: number, sum: number) => string,
): string {
  const sums = new Map<string, { count: number; sum: number }>();
  for (const [name, value] of values) {
    const known = sums.get(name) ?? { count: 0, sum: 0 };
    sums.set(name, { count: known.count + 1, sum: known.sum + value });
  }
  return [...sums]
    .toSorted(([, a], [, b]) => b.sum - a.sum)
    .map(([name, { count, sum }]) => line(name, count, sum))
    .join('\n');
}

function share(ms: number, ofMs: number): string {
  return `${((100 * ms) / ofMs).toFixed(2)} % of a core`;
}
