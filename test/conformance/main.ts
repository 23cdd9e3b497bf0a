/**
 * `make conformance`: critest, whole, against husk on this machine, and if asked for against a peer.
 *
 *   node test/conformance/main.ts [--cri-tools v1.37] [--runs default,websocket,native | none] [--focus RE]
 *     [--seed N] [--repeat N] [--parallel N] [--peer containerd] [--counts FILE]
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { HuskError } from '../../src/base/errors.ts';
import { startDaemon } from '../helpers/daemon.ts';
import { runCritest } from './critest.ts';
import { startContainerd } from './peer-containerd.ts';
import { startStandInRegistry } from './prepare.ts';
import { type RunReport, refusals, specTable, summaryTable, tally } from './report.ts';
import { mirroredRegistries } from './stand-ins.ts';

const repository = join(import.meta.dirname, '../..');
const output = join(repository, 'build/conformance');

/** How each named run calls critest. */
const kinds = {
  default: {},
  websocket: { webSocket: true },
  native: { handler: 'native' },
} as const;
type Kind = keyof typeof kinds;

const { values: options } = parseArgs({
  options: {
    'cri-tools': { type: 'string', default: 'v1.37' },
    runs: { type: 'string', default: 'default,websocket,native' },
    focus: { type: 'string' },
    seed: { type: 'string' },
    repeat: { type: 'string', default: '1' },
    parallel: { type: 'string', default: '1' },
    peer: { type: 'string' },
    counts: { type: 'string' },
  },
});
const programs = join(repository, 'build/bin', `cri-tools-${options['cri-tools']}`);
const runs = new Map<string, RunReport>();

await mkdir(output, { recursive: true });
const registry = await startStandInRegistry();
try {
  // `none`: the peer alone.
  if (options.runs !== 'none') await runHusk(parseKinds(options.runs));
  if (options.peer !== undefined) await runPeer(options.peer);
} finally {
  await registry.stop();
}
await report();

async function runHusk(chosen: readonly Kind[]): Promise<void> {
  const daemon = await startDaemon({ mirror: { to: registry.host, of: mirroredRegistries } });
  try {
    for (let turn = 1; turn <= Number(options.repeat); turn += 1) {
      for (const kind of chosen) {
        const name = options.repeat === '1' ? kind : `${kind}-${turn}`;
        await runOne(`husk-${name}`, daemon.socket, kinds[kind]);
      }
    }
  } finally {
    await writeFile(join(output, 'huskd.log'), await daemon.log());
    await daemon.stop();
  }
}

async function runPeer(peer: string): Promise<void> {
  if (peer !== 'containerd') throw new HuskError('invalid-argument', `peer is "${peer}": want "containerd"`);
  await using containerd = await startContainerd(registry.host);
  await runOne('containerd', containerd.socket, {});
}

async function runOne(name: string, socket: string, how: { handler?: string; webSocket?: boolean }): Promise<void> {
  const folder = join(output, name);
  console.log(`\n== ${name}`);
  const seed = options.seed === undefined ? {} : { seed: Number(options.seed) };
  const focus = options.focus === undefined ? {} : { focus: options.focus };
  const result = await runCritest({
    programs,
    parallel: Number(options.parallel),
    socket,
    folder,
    ...how,
    ...seed,
    ...focus,
  });
  console.log(specTable(result));
  console.log('answered with an error:');
  for (const line of refusals(await readFile(join(folder, 'critest.log'), 'utf8'))) console.log(line);
  const { passed, failed, skipped } = tally(result.specs);
  console.log(`${name}: ${passed} passed, ${failed} failed, ${skipped} skipped of ${result.specs.length}`);
  runs.set(name, result);
}

async function report(): Promise<void> {
  await writeFile(join(output, 'summary.json'), `${JSON.stringify(Object.fromEntries(runs), null, 2)}\n`);
  console.log(`\n${summaryTable(runs)}\nreports: ${output}`);
  // The peer is there to be compared with; its failures are not ours.
  const ours = [...runs].filter(([name]) => name.startsWith('husk-')).flatMap(([, { specs }]) => specs);
  const unexpected = ours.filter((spec) => spec.unexpected);
  if (options.counts !== undefined) {
    // As tools/counts.sh reads it: an unexpected skip is a failure, too.
    const { passed, skipped } = tally(ours.filter((spec) => !spec.unexpected));
    await mkdir(dirname(join(repository, options.counts)), { recursive: true });
    await writeFile(join(repository, options.counts), `${passed} ${unexpected.length} ${skipped}\n`);
  }
  if (runs.size === 0 || unexpected.length > 0) {
    console.error(`conformance: ${unexpected.length} unexpected results of ${ours.length}`);
    process.exitCode = 1;
  }
}

function parseKinds(text: string): Kind[] {
  return text.split(',').map((name) => {
    if (!(name in kinds)) {
      throw new HuskError('invalid-argument', `runs has "${name}": want ${Object.keys(kinds).join(', ')}`);
    }
    return name as Kind;
  });
}
