/**
 * `make compat`: runs the whole table on both runtimes, or on those of `--runtimes`, and writes
 * docs/compatibility.md. Fails when something differs that no exception explains.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { allCases } from './cases/all.ts';
import { exceptions } from './exceptions.ts';
import { renderSection, replaceSection, unexplained, unused } from './render.ts';
import { judge } from './verdicts.ts';

const path = join(import.meta.dirname, '../../docs/compatibility.md');
const started = performance.now();
const say = (line: string): void =>
  void process.stdout.write(`compat: ${((performance.now() - started) / 1000).toFixed(1).padStart(6)} s  ${line}\n`);

const { values } = parseArgs({ options: { runtimes: { type: 'string', default: 'native,vm' } } });
const runtimes = (['native', 'vm'] as const).filter((name) => values.runtimes.split(',').includes(name));
const flags = runtimes.includes('vm') ? [] : ['--template=false', '--accel=tcg'];
const verdicts = await judge(allCases, runtimes, say, { flags });
const odd = [
  ...unexplained(verdicts, exceptions),
  ...unused(verdicts, exceptions, runtimes).map((key) => `exception ${key} covers nothing`),
];
await writeFile(path, replaceSection(await readFile(path, 'utf8'), renderSection(verdicts, exceptions)));
for (const line of odd) process.stdout.write(`${line}\n`);
process.stdout.write(`compat: ${verdicts.size} cases, ${odd.length} unexplained differences\n`);
process.exitCode = odd.length === 0 ? 0 : 1;
