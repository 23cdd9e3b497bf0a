/**
 * A thread that starts programs. `spawn` blocks whoever calls it until the new process runs its program: some milliseconds, and
 * tens of them while machines start beside it. On the main thread all calls would wait for that.
 */
import { Worker } from 'node:worker_threads';
import { HuskError } from './errors.ts';

export interface ToolCall {
  readonly file: string;
  readonly args: readonly string[];
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string | undefined;
  readonly input?: string | Uint8Array | undefined;
  /** Then SIGTERM, and SIGKILL after `forceMs`. */
  readonly timeoutMs: number;
  readonly forceMs: number;
  /** More output than this ends the program. */
  readonly maxBytes: number;
}

/** How a program ended. */
export interface ToolEnd {
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** Why it was ended, if it was. */
  readonly ended: '' | 'timeout' | 'cancelled' | 'output';
  /** The errno's name of a program that could not be started. */
  readonly code: string | undefined;
  /** Its /proc/PID/stat as its output ended; empty where that came too late. */
  readonly stat: string;
}

interface Waiting {
  readonly resolve: (end: ToolEnd) => void;
  readonly reject: (error: HuskError) => void;
}

export class ToolThread {
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;
  #last = 0;

  /** @throws HuskError `unavailable` when the thread died */
  async run(call: ToolCall, signal: AbortSignal | undefined): Promise<ToolEnd> {
    const worker = (this.#worker ??= this.#start());
    this.#last += 1;
    const id = this.#last;
    const { promise, resolve, reject } = Promise.withResolvers<ToolEnd>();
    this.#waiting.set(id, { resolve, reject });
    worker.ref();
    worker.postMessage({ id, call });
    const cancel = (): void => worker.postMessage({ id });
    signal?.addEventListener('abort', cancel, { once: true });
    if (signal?.aborted) cancel();
    try {
      return await promise;
    } finally {
      signal?.removeEventListener('abort', cancel);
      this.#waiting.delete(id);
      if (this.#waiting.size === 0) worker.unref();
    }
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(threadProgram(), { eval: true, name: 'tools' });
    worker.on('message', ({ id, end }: { id: number; end: ToolEnd }) => this.#waiting.get(id)?.resolve(end));
    worker.on('error', (cause) => this.#lost(worker, cause));
    worker.on('exit', () => this.#lost(worker, undefined));
    worker.unref();
    return worker;
  }

  #lost(worker: Worker, cause: unknown): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    for (const { reject } of this.#waiting.values())
      reject(new HuskError('unavailable', 'the thread that starts programs has ended', { cause }));
  }
}

/*
 * The thread's program: the text of these functions alone goes there, so they use one another and nothing else from outside.
 */
const threadProgram = (): string =>
  `${[collect, statOf, runTool].map(String).join('\n')}\n(${threadMain.toString()})()`;

function threadMain(): void {
  const { parentPort } = process.getBuiltinModule('node:worker_threads');
  const stops = new Map<number, () => void>();
  parentPort?.on('message', ({ id, call }: { id: number; call?: ToolCall }) => {
    if (call === undefined) {
      stops.get(id)?.();
      return;
    }
    const tell = (end: ToolEnd): void => {
      stops.delete(id);
      parentPort.postMessage({ id, end });
    };
    try {
      stops.set(id, runTool(call, tell));
    } catch (caught) {
      // Most of what keeps a program from starting comes later, as an event; E2BIG does not.
      const { code = 'unknown' } = caught as NodeJS.ErrnoException;
      tell({ exitCode: undefined, signal: undefined, stdout: '', stderr: '', ended: '', code, stat: '' });
    }
  });
}

/** Starts a program. Returns what ends it because its caller has gone. */
function runTool(call: ToolCall, tell: (end: ToolEnd) => void): () => void {
  const { spawn } = process.getBuiltinModule('node:child_process');
  const { file, args, env, cwd, input, timeoutMs, forceMs, maxBytes } = call;
  const stdio = [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] as const;
  const child = spawn(file, [...args], { env: { ...env }, cwd, stdio: [...stdio] });
  let ended: ToolEnd['ended'] = '';
  let force: NodeJS.Timeout | undefined;
  const stop = (why: ToolEnd['ended']): void => {
    ended ||= why;
    child.kill('SIGTERM');
    force ??= setTimeout(() => child.kill('SIGKILL'), forceMs);
  };
  const timer = setTimeout(() => stop('timeout'), timeoutMs);
  const outputs = collect([child.stdout, child.stderr], maxBytes, () => stop('output'));
  let stat = '';
  child.stdout?.once('end', () => (stat = statOf(child.pid)));
  const settle = (found: Pick<ToolEnd, 'exitCode' | 'signal' | 'code'>): void => {
    clearTimeout(timer);
    clearTimeout(force);
    const [stdout = '', stderr = ''] = outputs.map((parts) => Buffer.concat(parts).toString());
    tell({ ...found, stdout, stderr, ended, stat });
  };
  // A program that ends without reading its input is judged by how it ended.
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(input);
  child.once('error', (error: NodeJS.ErrnoException) => {
    if (child.pid === undefined) settle({ exitCode: undefined, signal: undefined, code: error.code ?? 'unknown' });
  });
  child.once('exit', () => {
    // What it started may hold its outputs; of a program that was ended nobody waits for more.
    if (ended !== '') for (const output of [child.stdout, child.stderr]) output?.destroy();
  });
  child.once('close', (exitCode, signal) => {
    if (child.pid !== undefined)
      settle({ exitCode: exitCode ?? undefined, signal: signal ?? undefined, code: undefined });
  });
  return () => stop('cancelled');
}

/** What comes from the streams, as long as it fits. */
function collect(
  streams: readonly (NodeJS.ReadableStream | null)[],
  maxBytes: number,
  onTooMuch: () => void,
): Buffer[][] {
  let left = maxBytes;
  return streams.map((stream) => {
    const parts: Buffer[] = [];
    stream?.on('data', (bytes: Buffer) => {
      left -= bytes.length;
      if (left >= 0) parts.push(bytes);
      else onTooMuch();
    });
    return parts;
  });
}

function statOf(pid: number | undefined): string {
  try {
    return process.getBuiltinModule('node:fs').readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    // It was waited for already.
    return '';
  }
}
