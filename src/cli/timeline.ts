/** The start of a pod as text: each step, when it was done, and a bar. Pure. */
import type { TimelineStep } from '../pod/records.ts';

const barWidth = 40;

/** Lines of a table; steps that ran beside others overlap, so bars start at the previous stamp in time. */
export function timelineText(steps: readonly TimelineStep[]): string {
  const ordered = [...steps].sort((a, b) => a.atMs - b.atMs);
  const total = ordered.at(-1)?.atMs ?? 0;
  if (total === 0) return 'no steps were recorded\n';
  const width = Math.max(...ordered.map(({ step }) => step.length));
  const lines = ordered.map(({ step, atMs }, index) => {
    const before = ordered[index - 1]?.atMs ?? 0;
    const from = Math.round((before / total) * barWidth);
    const length = Math.max(1, Math.round((atMs / total) * barWidth) - from);
    const took = (atMs - before).toFixed(1);
    return `${step.padEnd(width)}  ${atMs.toFixed(1).padStart(9)} ms  +${took.padStart(8)} ms  ${' '.repeat(from)}${'▇'.repeat(length)}`;
  });
  return `${lines.join('\n')}\n`;
}
