import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { basename } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { withDeadline } from '../../base/deadline.ts';
import { type ErrorKind, HuskError, isErrno } from '../../base/errors.ts';
import { noteCpuAtEnd } from '../../base/process-usage.ts';
import { span } from '../../base/trace.ts';

export interface PluginCall {
  /** Absolute path. */
  readonly program: string;
  /** `ADD`, `DEL`, `STATUS`: for errors. */
  readonly command: string;
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly input: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** A plugin's answer is a few hundred bytes; what prints more than this is broken or hostile. */
const maxOutputBytes = 1024 * 1024;
const keptErrorBytes = 4096;
/** How long a plugin's orphans may keep its output open after it has ended. */
const orphanGraceMs = 500;

type Plugin = ChildProcessByStdio<Writable, Readable, Readable>;

interface Ending {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a CNI plugin once and returns what it printed.
 *
 * It runs in a process group of its own, since plugins start further ones (bridge starts
 * host-local): at the deadline, on cancellation, or when it prints too much, the whole group is killed.
 *
 * @throws HuskError `not-found`, `deadline-exceeded`, `cancelled`, `resource-exhausted` for
 *   too much output, or by the code of the plugin's own error
 */
export async function execPlugin(call: PluginCall): Promise<string> {
  const what = `CNI plugin "${call.program}" ${call.command}`;
  const stage = `cni-${call.command.toLowerCase()}`;
  call.signal?.throwIfAborted();
  let plugin: Plugin | undefined;
  try {
    const run = (): Promise<Ending> => {
      plugin = spawn(call.program, [], {
        env: { ...call.env },
        cwd: '/',
        detached: true,
        stdio: ['pipe', 'pipe', 'pipe'],
      });
      noteCpuAtEnd(plugin);
      return collect(plugin, call.input, what);
    };
    const ending = await span(`cni ${basename(call.program)} ${call.command}`, () =>
      withDeadline(what, call.timeoutMs, call.signal, run),
    );
    if (ending.code === 0) return ending.stdout;
    throw pluginError(what, ending);
  } catch (caught) {
    if (isErrno(caught, 'ENOENT') || isErrno(caught, 'EACCES')) {
      throw new HuskError('not-found', `${what}: the program is missing or cannot be run`, { cause: caught, stage });
    }
    throw HuskError.from(caught, stage);
  } finally {
    if (plugin !== undefined) endGroup(plugin);
  }
}

/** Collects output until the program has ended and its output is closed. */
async function collect(plugin: Plugin, input: string, what: string): Promise<Ending> {
  const { promise, resolve, reject } = Promise.withResolvers<Ending>();
  const stdout: Buffer[] = [];
  let stdoutBytes = 0;
  let stderr = '';
  plugin.stdout.on('data', (chunk: Buffer) => {
    stdoutBytes += chunk.length;
    if (stdoutBytes <= maxOutputBytes) stdout.push(chunk);
    else reject(new HuskError('resource-exhausted', `${what}: printed more than ${maxOutputBytes} bytes`));
  });
  plugin.stderr.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString('latin1')).slice(-keptErrorBytes);
  });
  // A plugin that ends without reading its input is judged by how it ended.
  plugin.stdin.on('error', () => {});
  plugin.stdin.end(input);
  plugin.once('error', reject);
  let orphans: NodeJS.Timeout | undefined;
  plugin.once('exit', () => {
    orphans = setTimeout(() => endGroup(plugin), orphanGraceMs);
  });
  plugin.once('close', (code: number | null, signal: string | null) => {
    clearTimeout(orphans);
    resolve({ code, signal, stdout: Buffer.concat(stdout).toString(), stderr });
  });
  return await promise;
}

/** Kills what is left of the group and closes our ends of its pipes. Nothing left: nothing happens. */
function endGroup(plugin: Plugin): void {
  const closed = plugin.stdout.destroyed && plugin.stderr.destroyed;
  const ended = plugin.exitCode !== null || plugin.signalCode !== null;
  if (plugin.pid === undefined || (ended && closed)) return;
  try {
    process.kill(-plugin.pid, 'SIGKILL');
  } catch (caught) {
    if (!isErrno(caught, 'ESRCH')) throw caught;
  }
  plugin.stdin.destroy();
  plugin.stdout.destroy();
  plugin.stderr.destroy();
}

/** The plugin's own error (specification section 5), or what is known of a plugin that died. */
function pluginError(what: string, ending: Ending): HuskError {
  const own = ownError(ending.stdout);
  if (own !== undefined) {
    return new HuskError(kindOfCode(own.code), `${what}: code ${own.code}: ${own.text}`, hintOf(own.code));
  }
  const end = ending.signal === null ? `exit code ${ending.code}` : `signal ${ending.signal}`;
  const told = clean(ending.stderr || ending.stdout);
  return new HuskError('internal', `${what}: ${end}${told === '' ? ', and it said nothing' : `: ${told}`}`);
}

function ownError(stdout: string): { code: number; text: string } | undefined {
  try {
    const json: unknown = JSON.parse(stdout);
    if (typeof json !== 'object' || json === null || !('code' in json) || !('msg' in json)) return undefined;
    if (typeof json.code !== 'number' || typeof json.msg !== 'string') return undefined;
    const details = 'details' in json && typeof json.details === 'string' ? json.details : '';
    return { code: json.code, text: clean(details === '' ? json.msg : `${json.msg}: ${details}`) };
  } catch {
    return undefined;
  }
}

/** https://www.cni.dev/docs/spec/#error */
function kindOfCode(code: number): ErrorKind {
  if (code === 11 || code === 50 || code === 51) return 'unavailable';
  if (code === 1 || code === 2 || code === 7) return 'failed-precondition';
  return 'internal';
}

function hintOf(code: number): { hint?: string } {
  return code === 1
    ? { hint: 'the plugin is older than the cniVersion of the configuration: lower the one or update the other' }
    : {};
}

/** Plain text of bounded length: it goes into errors that a kubelet shows. */
function clean(text: string): string {
  return text
    .replaceAll(/[\u0000-\u0020\u007f-\u009f]+/g, ' ')
    .trim()
    .slice(0, 800);
}
