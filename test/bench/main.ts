/**
 * `make bench`: measures husk beside containerd and writes what it saw.
 *
 *   node test/bench/main.ts [--quick|--tiny] [--only SECTIONS] [--set NAME=NUMBER,...] [--out DIR] [--host USER@HOST]
 *   node test/bench/main.ts report [--spec] --out DIR RESULTS.json...   --spec: into SPECIFICATION.md too
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { describeError } from '../../src/base/errors.ts';
import { insertReport } from './insert.ts';
import { markdown } from './markdown.ts';
import { makePlan } from './plan.ts';
import { draw } from './plots/draw.ts';
import { runRemote } from './remote/run-remote.ts';
import { parseHost, Ssh, userOptions } from './remote/ssh.ts';
import { writeReport, writeResults } from './report.ts';
import { mergeResults, type Results, readResults } from './results.ts';
import { runBench } from './run.ts';

const repository = join(import.meta.dirname, '../..');
/** Exit codes: a run that was interrupted, and one whose figures must not be used. */
const exitCodes = { failed: 1, invalid: 3, interrupted: 130 } as const;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    tiny: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    set: { type: 'string', default: '' },
    host: { type: 'string', default: '' },
    spec: { type: 'boolean', default: false },
    out: { type: 'string', default: join(repository, 'build/bench/latest') },
  },
});

const started = performance.now();
const say = (text: string): void =>
  console.error(`[${((performance.now() - started) / 1000).toFixed(1).padStart(6)} s] ${text}`);
const interrupted = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    if (interrupted.signal.aborted) return;
    say(`${name}: the runtimes are taken away`);
    interrupted.abort(new Error(`ended by ${name}`));
  });
}

try {
  const results = await measured();
  const { text, troubles } = await writeReport(values.out, results);
  console.log(text);
  if (values.spec) await writeSpecification(results);
  for (const trouble of troubles) say(trouble);
  say(`written to ${values.out}`);
  if (results.invalid.length > 0) process.exitCode = exitCodes.invalid;
  if (interrupted.signal.aborted) process.exitCode = exitCodes.interrupted;
} catch (caught) {
  console.error(`bench: ${describeError(caught)}`);
  process.exitCode = interrupted.signal.aborted ? exitCodes.interrupted : exitCodes.failed;
}

async function measured(): Promise<Results> {
  const [command, ...files] = positionals;
  if (command === 'report') return mergeResults(await Promise.all(files.map(readResults)));
  if (values.host !== '') return await measuredOn(values.host);
  const plan = makePlan(values.tiny ? 'tiny' : values.quick ? 'quick' : 'full', values.only, values.set);
  const cache = join(repository, 'build/bench/cache');
  const save = (results: Results): Promise<void> => writeResults(values.out, results);
  return runBench({ plan, repository, cache, signal: interrupted.signal, say, save });
}

/** The report over there is of that machine; it is written anew here from its raw results. */
async function measuredOn(host: string): Promise<Results> {
  using ssh = await Ssh.connect(await userOptions(parseHost(host)));
  say(`connected to ${host}; the tree is copied`);
  const variables = {
    ...(values.quick ? { QUICK: '1' } : {}),
    ...(values.only === '' ? {} : { ONLY: values.only }),
    ...(values.set === '' ? {} : { SET: values.set }),
  };
  const { signal } = interrupted;
  await runRemote({ ssh, repository, variables, out: values.out, errors: process.stderr, signal });
  return readResults(join(values.out, 'results.json'));
}

/** The table and the plots as SPECIFICATION.md shows them: from the folder that the plots are in. */
async function writeSpecification(results: Results): Promise<void> {
  const path = join(repository, 'SPECIFICATION.md');
  const folder = relative(repository, resolve(values.out));
  const plots = draw(results).map(({ name, title }) => ({ file: `${folder}/${name}.svg`, title }));
  const text = markdown(results, plots, join(folder, 'report.md')).replace(/^## /, '### ');
  await writeFile(path, insertReport(await readFile(path, 'utf8'), text));
}
