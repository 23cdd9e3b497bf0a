/** Runs a short-lived program. Smaller than src/base/exec.ts: the bundle must load fast in an emulated guest. */
import { spawn } from 'node:child_process';
import { HuskError } from '../../src/base/errors.ts';

/** What is kept of a program's output; the rest is thrown away. */
const maxKeptBytes = 16 * 1024;

export interface ToolOptions {
  /** The longest run, in milliseconds; then SIGKILL. */
  readonly timeoutMs: number;
  /** Descriptors that become the program's 0, 1 and 2; without them output is kept for the error. */
  readonly stdio?: readonly [number | 'ignore', number | 'ignore', number | 'ignore'];
}

export interface ToolResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs the program and waits for its end. An exit code other than 0 is the caller's to judge.
 *
 * @throws HuskError `deadline-exceeded`, or `unavailable` when it cannot be started or is killed
 */
export function runTool(file: string, args: readonly string[], options: ToolOptions): Promise<ToolResult> {
  const { promise, resolve, reject } = Promise.withResolvers<ToolResult>();
  const child = spawn(file, args, {
    stdio: options.stdio === undefined ? ['ignore', 'pipe', 'pipe'] : [...options.stdio],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    cwd: '/',
  });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
    // A child of the program may hold its outputs open: the end is not waited for.
    child.stdout?.destroy();
    child.stderr?.destroy();
  }, options.timeoutMs);
  const stdout = new Kept();
  const stderr = new Kept();
  child.stdout?.on('data', (bytes: Buffer) => stdout.add(bytes));
  child.stderr?.on('data', (bytes: Buffer) => stderr.add(bytes));
  child.on('error', (cause) => {
    clearTimeout(timer);
    reject(new HuskError('unavailable', `run "${file}": cannot be started`, { cause }));
  });
  child.on('close', (exitCode, signal) => {
    clearTimeout(timer);
    const what = `run "${file} ${args[0] ?? ''}"`;
    if (late) reject(new HuskError('deadline-exceeded', `${what}: still running after ${options.timeoutMs} ms`));
    else if (exitCode === null) reject(new HuskError('unavailable', `${what}: killed by ${signal}: ${stderr.text()}`));
    else resolve({ exitCode, stdout: stdout.text(), stderr: stderr.text() });
  });
  return promise;
}

class Kept {
  readonly #parts: Buffer[] = [];
  #left = maxKeptBytes;

  add(bytes: Buffer): void {
    const part = bytes.subarray(0, this.#left);
    this.#left -= part.length;
    if (part.length > 0) this.#parts.push(part);
  }

  text(): string {
    return Buffer.concat(this.#parts).toString('utf8');
  }
}
