/** Who uses the machine: processes, whose they are, and what they cost. Read from proc(5). */
import { readdirSync, readFileSync } from 'node:fs';

export interface Process {
  readonly pid: number;
  readonly parent: number;
  /** Its session, which it keeps when it is adopted and when it has ended and nobody has waited for it. */
  readonly session: number;
  /** The kernel's name of it: at most 15 bytes. */
  readonly name: string;
  /** Tells it from a later process with its pid. */
  readonly startTicks: string;
  /** CPU time of it and of its children that have ended and were waited for, in milliseconds; steps of 10. */
  readonly cpuMs: number;
  /** Without the children. */
  readonly ownCpuMs: number;
}

const msPerTick = 10;

/** The fields of /proc/PID/stat that count here; undefined for a line that is none. Pure. */
export function parseStat(text: string): Process | undefined {
  const [open, close] = [text.indexOf('('), text.lastIndexOf(')')];
  const fields = text.slice(close + 2).split(' ');
  if (open < 0 || close < open || fields.length < 20) return undefined;
  const at = (index: number): number => Number(fields[index]);
  const ownCpuMs = (at(11) + at(12)) * msPerTick;
  return {
    pid: Number(text.slice(0, open)),
    parent: at(1),
    session: at(3),
    name: text.slice(open + 1, close),
    startTicks: fields[19] as string,
    ownCpuMs,
    cpuMs: ownCpuMs + (at(13) + at(14)) * msPerTick,
  };
}

/** Everything that runs now, by pid. */
export function readProcesses(): Map<number, Process> {
  const found = new Map<number, Process>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const process = parseStat(readOr(`/proc/${name}/stat`));
    if (process !== undefined) found.set(process.pid, process);
  }
  return found;
}

/** The processes of which it is said that they are roots, and all below them. */
export function descendantsOf(
  processes: ReadonlyMap<number, Process>,
  isRoot: (process: Process) => boolean,
): Set<number> {
  const known = new Map<number, boolean>();
  const belongs = (pid: number): boolean => {
    const cached = known.get(pid);
    if (cached !== undefined) return cached;
    const process = processes.get(pid);
    // Set first: a pid that was reused meanwhile may make a circle.
    known.set(pid, false);
    const answer = process !== undefined && (isRoot(process) || belongs(process.parent));
    known.set(pid, answer);
    return answer;
  };
  return new Set([...processes.keys()].filter(belongs));
}

/**
 * Says whose a process is: by a folder in its command line or by the session that its runtime leads.
 * A dying process has no command line any more, and a shim is adopted by the first process.
 */
export function ownedBy(owner: { readonly mark: string; readonly session: number }): (found: Process) => boolean {
  return ({ pid, session }) => session === owner.session || commandOf(pid).includes(owner.mark);
}

/** The command line, arguments separated by blanks; empty for kernel threads and the dead. */
export function commandOf(pid: number): string {
  return readOr(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim();
}

/** Sums of resident and proportional memory in bytes; who has ended counts nothing. */
export function memoryOf(pids: Iterable<number>): { rssBytes: number; pssBytes: number } {
  let [rss, pss] = [0, 0];
  for (const pid of pids) {
    const text = readOr(`/proc/${pid}/smaps_rollup`);
    rss += kilobytes(text, 'Rss');
    pss += kilobytes(text, 'Pss');
  }
  return { rssBytes: rss * 1024, pssBytes: pss * 1024 };
}

/** What the kernel could give to new programs without swapping, in bytes. */
export function availableBytes(): number {
  return kilobytes(readOr('/proc/meminfo'), 'MemAvailable') * 1024;
}

function kilobytes(text: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0);
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
