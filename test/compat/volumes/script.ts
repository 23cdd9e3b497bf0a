/** One shell script runs all scenarios in a container: a process for each would take minutes under emulation. */
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Scenario } from './scenario.ts';

/** Where the scenario is in the container. */
export const placeOf = (index: number): string => `/s/${index}`;

/** The script of the first or the second container. Its output has a heading before each part. */
export function scriptOf(scenarios: readonly Scenario[], which: 'first' | 'second'): string {
  const part = (name: string, pick: (scenario: Scenario) => string | undefined): string[] =>
    scenarios.flatMap((scenario, index) => {
      const line = pick(scenario);
      return line === undefined ? [] : [`printf "\n== ${index} ${name}\n"; cd ${placeOf(index)}; { ${line}; } 2>&1`];
    });
  if (which === 'second') return [...part('second', ({ second }) => second), 'printf "\\n== end\\n"'].join('\n');
  return [
    ...part('first', ({ first }) => first),
    'printf "\\n== wait\\n"; until [ -e /sync/go ]; do sleep 0.2; done',
    ...part('then', ({ afterwards }) => afterwards),
    'printf "\\n== end\\n"',
  ].join('\n');
}

/** Heading to text. */
export function sectionsOf(output: string): Map<string, string> {
  const sections = new Map<string, string>();
  let heading = '';
  for (const line of output.split('\n')) {
    if (line.startsWith('== ')) heading = line.slice(3);
    else sections.set(heading, `${sections.get(heading) ?? ''}${line}\n`);
  }
  return sections;
}

/** What the host has after a run: every name with its kind, owner, mode, and content. */
export function hostAfter(folder: string, at = ''): string[] {
  return readdirSync(join(folder, at), { encoding: 'latin1' })
    .toSorted((one, other) => (one < other ? -1 : 1))
    .flatMap((name) => {
      const path = at === '' ? name : `${at}/${name}`;
      const full = Buffer.from(`${folder}/${path}`, 'latin1');
      const stats = lstatSync(full);
      const owner = `${(stats.mode & 0o7777).toString(8)} ${stats.uid}:${stats.gid}`;
      if (stats.isDirectory()) return [`folder ${owner} ${JSON.stringify(path)}`, ...hostAfter(folder, path)];
      if (stats.isSymbolicLink())
        return [`link ${stats.uid}:${stats.gid} ${JSON.stringify(path)} to ${readlinkSync(full)}`];
      if (!stats.isFile()) return [`special ${owner} ${JSON.stringify(path)}`];
      const digest = createHash('sha256').update(readFileSync(full)).digest('hex').slice(0, 16);
      return [`file ${owner} ${stats.nlink} ${stats.size} ${digest} ${JSON.stringify(path)}`];
    });
}
