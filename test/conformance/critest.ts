/** One run of critest against a runtime's socket. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readFile, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { HuskError } from '../../src/base/errors.ts';
import { expectedSkips } from './expected-skips.ts';
import { type RunReport, readGinkgoReport } from './report.ts';

/** The whole suite; a run that takes longer hangs. */
const runLimitMs = 45 * 60_000;
const reportName = 'report.json';

export interface CritestOptions {
  /** Folder with critest and ginkgo. */
  readonly programs: string;
  /** Path of the runtime's socket. */
  readonly socket: string;
  /** Where the log, the JSON and the JUnit report go. */
  readonly folder: string;
  readonly handler?: string;
  readonly seed?: number;
  /** Regular expression of the specs to run. */
  readonly focus?: string;
  /** Exec, attach and port-forward over WebSocket in place of SPDY. */
  readonly webSocket?: boolean;
  /** Specs at a time; those that must be alone are. */
  readonly parallel: number;
}

/**
 * Runs it.
 * @throws HuskError `internal` when it ended without a report
 */
export async function runCritest(options: CritestOptions): Promise<RunReport> {
  await mkdir(options.folder, { recursive: true });
  const json = join(options.folder, reportName);
  await rm(json, { force: true });
  const [program, ...args] = await commandOf(options);
  const log = await open(join(options.folder, 'critest.log'), 'w');
  try {
    const child = spawn(program, args, { stdio: ['ignore', log.fd, log.fd], cwd: options.folder });
    const timer = setTimeout(() => child.kill('SIGINT'), runLimitMs);
    await once(child, 'exit');
    clearTimeout(timer);
  } finally {
    await log.close();
  }
  const text = await readFile(json, 'utf8').catch((cause: unknown) => {
    throw new HuskError('internal', `run critest: it left no report; see ${options.folder}/critest.log`, { cause });
  });
  return readGinkgoReport(text, options.focus !== undefined);
}

/** One process alone, or ginkgo's command over several; it takes the same flags without their prefix. */
async function commandOf(options: CritestOptions): Promise<[string, ...string[]]> {
  const critest = join(options.programs, 'critest');
  if (options.parallel < 2) return [critest, ...suiteFlags(options, '-ginkgo.'), ...critestFlags(options)];
  // The command takes a compiled suite by this suffix, and leaves its reports beside it.
  const suite = join(options.folder, 'critest.test');
  await rm(suite, { force: true });
  await symlink(critest, suite);
  const nodes = `--nodes=${options.parallel}`;
  const flags = [nodes, ...suiteFlags(options, '--'), suite, '--', ...critestFlags(options)];
  return [join(options.programs, 'ginkgo'), ...flags];
}

function suiteFlags({ seed, focus }: CritestOptions, prefix: string): string[] {
  const skips = expectedSkips.filter(({ byName }) => byName === true).map(({ spec }) => spec.source);
  return [
    // Without it only the outermost groups change places.
    'randomize-all',
    `json-report=${reportName}`,
    'junit-report=junit.xml',
    'no-color',
    ...skips.map((skip) => `skip=${skip}`),
    ...(seed === undefined ? [] : [`seed=${seed}`]),
    ...(focus === undefined ? [] : [`focus=${focus}`]),
  ].map((flag) => `${prefix}${flag}`);
}

function critestFlags({ socket, folder, handler = '', webSocket = false }: CritestOptions): string[] {
  return [
    `-runtime-endpoint=unix://${socket}`,
    `-image-endpoint=unix://${socket}`,
    // Not the node's own crictl.yaml.
    `-config=${join(folder, 'none.yaml')}`,
    `-runtime-handler=${handler}`,
    ...(webSocket ? ['-websocket-exec', '-websocket-attach', '-websocket-portforward'] : []),
  ];
}
