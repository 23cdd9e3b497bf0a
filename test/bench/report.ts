/** Writes a run down: raw JSON, the table as Markdown, the plots as SVG and PNG. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../src/base/atomic-file.ts';
import { describeError } from '../../src/base/errors.ts';
import { run } from '../../src/base/exec.ts';
import { callTreeText } from '../../src/cli/call-tree.ts';
import { chromeTrace } from '../../src/cli/chrome-trace.ts';
import { markdown } from './markdown.ts';
import { draw } from './plots/draw.ts';
import { middleTrace, type Results } from './results.ts';

const pngMs = 30_000;

/** The raw samples alone, in one step: of a run that goes on. */
export async function writeResults(folder: string, results: Results): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFileAtomic(join(folder, 'results.json'), `${JSON.stringify(results, null, 1)}\n`, 0o644);
}

/** @returns the Markdown, and what could not be written */
export async function writeReport(
  folder: string,
  results: Results,
): Promise<{ readonly text: string; readonly troubles: readonly string[] }> {
  await writeResults(folder, results);
  const trace = middleTrace(results.traces);
  if (trace !== undefined) {
    await writeFile(join(folder, 'trace.json'), `${JSON.stringify(chromeTrace(trace.podId, trace.calls))}\n`);
    await writeFile(join(folder, 'trace.txt'), callTreeText(trace.calls));
  }
  const plots = draw(results);
  const troubles: string[] = [];
  for (const { name, svg } of plots) {
    const path = join(folder, name);
    await writeFile(`${path}.svg`, svg);
    // Twice as large: sharp where a page is looked at closely.
    const args = ['--zoom', '2', '--format', 'png', '--output', `${path}.png`, `${path}.svg`];
    await run('rsvg-convert', args, { timeoutMs: pngMs }).catch((caught: unknown) => {
      troubles.push(`${name}.png: ${describeError(caught)}`);
    });
  }
  const text = markdown(
    results,
    plots.map(({ name, title }) => ({ file: `${name}.svg`, title })),
  );
  await writeFile(join(folder, 'report.md'), text);
  return { text, troubles };
}
