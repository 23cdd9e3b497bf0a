/** One run of critest against a runtime's socket. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HuskError } from '../../src/base/errors.ts';
import { expectedSkips } from './expected-skips.ts';
import { type RunReport, readGinkgoReport } from './report.ts';

/** The whole suite; a run that takes longer hangs. */
const runLimitMs = 45 * 60_000;

export interface CritestOptions {
  readonly program: string;
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
}

/**
 * Runs it.
 * @throws HuskError `internal` when it ended without a report
 */
export async function runCritest(options: CritestOptions): Promise<RunReport> {
  await mkdir(options.folder, { recursive: true });
  const json = join(options.folder, 'report.json');
  await rm(json, { force: true });
  const log = await open(join(options.folder, 'critest.log'), 'w');
  try {
    const child = spawn(options.program, argumentsOf(options, json), { stdio: ['ignore', log.fd, log.fd] });
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

function argumentsOf(options: CritestOptions, json: string): string[] {
  const { handler = '', seed, focus, webSocket = false } = options;
  const skips = expectedSkips.filter(({ byName }) => byName === true).map(({ spec }) => spec.source);
  return [
    `-runtime-endpoint=unix://${options.socket}`,
    `-image-endpoint=unix://${options.socket}`,
    // Not the node's own crictl.yaml.
    `-config=${join(options.folder, 'none.yaml')}`,
    `-runtime-handler=${handler}`,
    `-ginkgo.json-report=${json}`,
    `-ginkgo.junit-report=${join(options.folder, 'junit.xml')}`,
    '-ginkgo.no-color',
    ...skips.map((skip) => `-ginkgo.skip=${skip}`),
    ...(seed === undefined ? [] : [`-ginkgo.seed=${seed}`]),
    ...(focus === undefined ? [] : [`-ginkgo.focus=${focus}`]),
    ...(webSocket ? ['-websocket-exec', '-websocket-attach', '-websocket-portforward'] : []),
  ];
}
