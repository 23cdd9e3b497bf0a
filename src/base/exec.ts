import { basename } from 'node:path';
import { execa, type Options, type ResultPromise } from 'execa';
import { HuskError } from './errors.ts';
import { noteCpuAtEnd, usageOf } from './process-usage.ts';
import { ToolThread } from './tool-thread.ts';
import { annotate, span } from './trace.ts';

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
  const thread = threads.tools;
  const result = await span(
    `run ${basename(file)}`,
    async (): Promise<Ended> =>
      thread === undefined
        ? await observed(execa(file, [...args], execaOptions))
        : await byThread(thread, { file, args, options, env: execaOptions.env as Record<string, string> }),
  );
  if (!result.failed) return textOf(result.stdout);
  const told = tail(textOf(result.stderr)) || tail(textOf(result.stdout));
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

const threads: { tools: ToolThread | undefined } = { tools: undefined };

/** From now on programs are started by a thread of their own: what a daemon wants, and a short-lived command does not. */
export function startToolThread(): AsyncDisposable {
  const tools = new ToolThread();
  threads.tools = tools;
  return {
    async [Symbol.asyncDispose]() {
      threads.tools = undefined;
      await tools.close();
    },
  };
}

interface Ended {
  readonly failed: boolean;
  readonly timedOut: boolean;
  readonly isCanceled: boolean;
  readonly stdout?: unknown;
  readonly stderr?: unknown;
  readonly code?: string | undefined;
  readonly cause?: unknown;
  readonly signal?: string | undefined;
  readonly exitCode?: number | undefined;
}

/** The same in the words of execa. */
async function byThread(
  thread: ToolThread,
  {
    file,
    args,
    options,
    env,
  }: { file: string; args: readonly string[]; options: RunOptions; env: Record<string, string> },
): Promise<Ended> {
  const { timeoutMs, cwd, input, signal } = options;
  const limits = { timeoutMs, forceMs: forceKillAfterMs, maxBytes: maxOutputBytes };
  const { ended, stat, ...end } = await thread.run({ file, args, env, cwd, input, ...limits }, signal);
  if (stat !== '') {
    const { cpuMs, childrenCpuMs } = usageOf(stat);
    annotate({ cpuMs: cpuMs + childrenCpuMs });
  }
  return {
    ...end,
    failed: end.exitCode !== 0 || ended !== '' || end.code !== undefined,
    timedOut: ended === 'timeout',
    isCanceled: ended === 'cancelled',
  };
}

function observed<T extends Options>(child: ResultPromise<T>): ResultPromise<T> {
  noteCpuAtEnd(child);
  return child;
}

function textOf(output: unknown): string {
  return typeof output === 'string' ? output : '';
}

function tail(text: string): string {
  return text.trim().slice(-800).replaceAll(/\s+/g, ' ');
}
