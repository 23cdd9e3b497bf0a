/** Watches for strangers: whoever else uses a core while we measure makes the figures worthless. */
import { loadavg } from 'node:os';
import { commandOf, descendantsOf, type Process, readProcesses } from './processes.ts';

/** A stranger that used a core. */
export interface Foreign {
  readonly pid: number;
  readonly command: string;
  /** Of one core, from 0. */
  readonly share: number;
}

/** One look: what happened since the look before. */
export interface LoadLook {
  readonly section: string;
  /** Seconds since the start of the run, at its end. */
  readonly atS: number;
  readonly seconds: number;
  readonly loadAverage: number;
  /** Sum over all strangers, as a share of one core. */
  readonly foreignShare: number;
  /** Those above the limit, the busiest first. */
  readonly foreign: readonly Foreign[];
}

/** One stranger may use this share of one core. */
export const foreignLimit = 0.05;
/** Between looks that nobody asked for. */
const usualMs = 1_000;
/** A look over less time than this sees too few clock ticks of 10 ms to judge. */
const leastMs = 500;
const most = 5;
/** The section of looks during which nothing was measured. */
export const notMeasured = 'waiting';

/** Strangers above the limit between two looks at the machine. Pure. */
export function strangers(
  before: ReadonlyMap<number, Process>,
  now: ReadonlyMap<number, Process>,
  ours: ReadonlySet<number>,
  elapsedMs: number,
): { readonly total: number; readonly above: readonly { readonly pid: number; readonly share: number }[] } {
  let total = 0;
  const above: { pid: number; share: number }[] = [];
  for (const process of now.values()) {
    if (ours.has(process.pid) || isKernelThread(process)) continue;
    const earlier = before.get(process.pid);
    const known = earlier?.startTicks === process.startTicks ? earlier : undefined;
    // Of a stranger that is new only what it used itself: what it was born from was counted there.
    const own = Math.max(0, process.ownCpuMs - (known?.ownCpuMs ?? 0));
    const share = own / elapsedMs;
    total += share;
    if (share > foreignLimit) above.push({ pid: process.pid, share });
  }
  return { total, above: above.toSorted((a, b) => b.share - a.share) };
}

/** Who is ours, or was at the look before: also a process that has lost what it was known by. */
export class OursSoFar {
  readonly #isOurs: (process: Process) => boolean;
  #known = new Map<number, string>();

  constructor(isOurs: (process: Process) => boolean) {
    this.#isOurs = isOurs;
  }

  of(processes: ReadonlyMap<number, Process>): Set<number> {
    const known = this.#known;
    const ours = descendantsOf(
      processes,
      (process) => known.get(process.pid) === process.startTicks || this.#isOurs(process),
    );
    this.#known = new Map([...ours].map((pid) => [pid, processes.get(pid)?.startTicks ?? '']));
    return ours;
  }
}

export class LoadWatch {
  readonly looks: LoadLook[] = [];
  readonly #ours: OursSoFar;
  readonly #started = performance.now();
  #before: Map<number, Process>;
  #at: number;

  /** @param isOurs says of a process whether it, and with it all below it, belongs to the run */
  constructor(isOurs: (process: Process) => boolean) {
    this.#ours = new OursSoFar(isOurs);
    this.#before = readProcesses();
    this.#at = performance.now();
  }

  /** Looks when the last look is at least this long ago. Costs tens of milliseconds: never inside a sample. */
  look(section: string, afterMs = usualMs): LoadLook | undefined {
    const elapsedMs = performance.now() - this.#at;
    if (elapsedMs < Math.max(afterMs, leastMs)) return undefined;
    const now = readProcesses();
    const ours = this.#ours.of(now);
    const { total, above } = strangers(this.#before, now, ours, elapsedMs);
    const look: LoadLook = {
      section,
      atS: Math.round((performance.now() - this.#started) / 100) / 10,
      seconds: Math.round(elapsedMs / 100) / 10,
      loadAverage: loadavg()[0] ?? 0,
      foreignShare: Math.round(total * 1000) / 1000,
      foreign: above.slice(0, most).map(({ pid, share }) => ({
        pid,
        share: Math.round(share * 1000) / 1000,
        command: programOf(pid, now),
      })),
    };
    this.looks.push(look);
    this.#before = now;
    this.#at = performance.now();
    return look;
  }

  /** Says that nothing was measured during a look: its strangers did no harm. It stays in the results as waiting. */
  dismiss(look: LoadLook): void {
    const at = this.looks.indexOf(look);
    if (at >= 0) this.looks[at] = { ...look, section: notMeasured };
  }
}

/** Why looks make a run invalid: a line for each program that was too busy. Pure. */
export function complaints(looks: readonly LoadLook[]): string[] {
  const worst = new Map<string, { share: number; section: string }>();
  for (const { section, foreign } of looks) {
    for (const { command, share } of foreign) {
      if (share > (worst.get(command)?.share ?? 0)) worst.set(command, { share, section });
    }
  }
  return [...worst]
    .toSorted(([, a], [, b]) => b.share - a.share)
    .slice(0, most)
    .map(
      ([command, { share, section }]) =>
        `a foreign process used ${(share * 100).toFixed(0)} % of a core during "${section}": ${command}`,
    );
}

/** Program and first argument are enough to find it, and tell nothing that should not be in a report. */
function programOf(pid: number, processes: ReadonlyMap<number, Process>): string {
  const [program = ''] = commandOf(pid).split(' ');
  return program.split('/').at(-1) || (processes.get(pid)?.name ?? 'unknown');
}

function isKernelThread({ pid, parent }: Process): boolean {
  return pid === 2 || parent === 2;
}
