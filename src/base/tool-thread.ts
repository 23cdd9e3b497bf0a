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
    const worker = new Worker(`(${threadMain.toString()})()`, { eval: true, name: 'tools' });
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

/** The thread's whole program: its text alone goes there, so it uses nothing from outside. */
function threadMain(): void {
  const { parentPort } = process.getBuiltinModule('node:worker_threads');
  const { spawn } = process.getBuiltinModule('node:child_process');
  const { readFileSync } = process.getBuiltinModule('node:fs');
  const stops = new Map<number, () => void>();

  const run = (id: number, call: ToolCall): void => {
    const child = spawn(call.file, [...call.args], {
      env: { ...call.env },
      cwd: call.cwd,
      stdio: [call.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    const outputs: { stdout: Buffer[]; stderr: Buffer[] } = { stdout: [], stderr: [] };
    let [ended, stat, left]: [ToolEnd['ended'], string, number] = ['', '', call.maxBytes];
    let force: NodeJS.Timeout | undefined;
    const stop = (why: ToolEnd['ended']): void => {
      ended ||= why;
      child.kill('SIGTERM');
      force ??= setTimeout(() => child.kill('SIGKILL'), call.forceMs);
    };
    const timer = setTimeout(() => stop('timeout'), call.timeoutMs);
    const settle = (found: Pick<ToolEnd, 'exitCode' | 'signal' | 'code'>): void => {
      clearTimeout(timer);
      clearTimeout(force);
      if (!stops.delete(id)) return;
      const text = (parts: Buffer[]): string => Buffer.concat(parts).toString();
      const end: ToolEnd = { ...found, stdout: text(outputs.stdout), stderr: text(outputs.stderr), ended, stat };
      parentPort?.postMessage({ id, end });
    };
    stops.set(id, () => stop('cancelled'));
    for (const name of ['stdout', 'stderr'] as const)
      child[name]?.on('data', (bytes: Buffer) => {
        left -= bytes.length;
        if (left >= 0) outputs[name].push(bytes);
        else stop('output');
      });
    child.stdout?.once('end', () => {
      try {
        stat = readFileSync(`/proc/${child.pid}/stat`, 'latin1');
      } catch {
        // It was waited for already.
      }
    });
    // A program that ends without reading its input is judged by how it ended.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(call.input);
    child.once('error', (error: NodeJS.ErrnoException) => {
      if (child.pid === undefined) settle({ exitCode: undefined, signal: undefined, code: error.code ?? 'unknown' });
    });
    child.once('exit', () => {
      // What it started may hold its outputs; of a program that was ended nobody waits for more.
      if (ended !== '') for (const output of [child.stdout, child.stderr]) output?.destroy();
    });
    child.once('close', (exitCode, signal) =>
      settle({ exitCode: exitCode ?? undefined, signal: signal ?? undefined, code: undefined }),
    );
  };
  parentPort?.on('message', ({ id, call }: { id: number; call?: ToolCall }) => {
    if (call === undefined) stops.get(id)?.();
    else run(id, call);
  });
}
