import { basename } from 'node:path';
import { execa, type Options, type ResultPromise } from 'execa';
import { HuskError } from './errors.ts';
import { noteCpuAtEnd } from './process-usage.ts';
import { span } from './trace.ts';

/** At most this much of a tool's output is kept; a longer one fails the call. */
const maxOutputBytes = 16 * 1024 * 1024;
/** A tool that ignores SIGTERM gets SIGKILL after this. */
const forceKillAfterMs = 2_000;

export interface RunOptions {
  /** The longest run, in milliseconds; then SIGTERM, then SIGKILL. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly input?: string | Uint8Array;
  /** The whole environment: nothing is inherited but PATH. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** The step, for the error. */
  readonly stage?: string;
}

/**
 * Runs a program with an argument vector, never a shell, and returns its standard output.
 *
 * @throws HuskError `not-found` when the program is missing, `deadline-exceeded`, `cancelled`,
 *   or `internal` with exit code and the tail of standard error
 */
export async function run(file: string, args: readonly string[], options: RunOptions): Promise<string> {
  const execaOptions: Options = {
    extendEnv: false,
    env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', ...options.env },
    timeout: options.timeoutMs,
    forceKillAfterDelay: forceKillAfterMs,
    maxBuffer: maxOutputBytes,
    reject: false,
    stripFinalNewline: false,
    ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.input === undefined ? { stdin: 'ignore' as const } : { input: options.input }),
  };
  const result = await span(`run ${basename(file)}`, () => observed(execa(file, [...args], execaOptions)));
  if (!result.failed) return String(result.stdout ?? '');
  const told = tail(String(result.stderr ?? '')) || tail(String(result.stdout ?? ''));
  const command = [file, ...args].join(' ').slice(0, 400);
  const stage = options.stage === undefined ? {} : { stage: options.stage };
  if (result.timedOut) {
    throw new HuskError('deadline-exceeded', `run "${command}": still running after ${options.timeoutMs} ms`, stage);
  }
  if (result.isCanceled) throw new HuskError('cancelled', `run "${command}": cancelled by the caller`, stage);
  if (result.code === 'ENOENT') {
    throw new HuskError('not-found', `run "${file}": no such program`, { ...stage, cause: result.cause });
  }
  const end = result.signal === undefined ? `exit code ${result.exitCode ?? 'unknown'}` : `signal ${result.signal}`;
  throw new HuskError('internal', `run "${command}": ${end}${told === '' ? '' : `: ${told}`}`, {
    ...stage,
    cause: result.cause,
  });
}

function observed<T extends Options>(child: ResultPromise<T>): ResultPromise<T> {
  noteCpuAtEnd(child);
  return child;
}

function tail(text: string): string {
  return text.trim().slice(-800).replaceAll(/\s+/g, ' ');
}
