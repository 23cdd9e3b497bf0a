/** What pods use: looked at once a second at most, and never waited for longer than a list may take. */
import { withDeadline } from '../../base/deadline.ts';
import { HuskError } from '../../base/errors.ts';
import type { SandboxRecord } from '../records.ts';
import type { PodUse } from '../usage.ts';
import type { EngineCore } from './core.ts';
import { runtimeOf } from './runtimes.ts';

/** A look is good for so long. */
const freshMs = 1_000;
/** After this an answer goes out with what was known before: one stuck guest must not hold up the others. */
const answerMs = 2_000;
/** And after this the look is given up. A pod that was never seen and never failed is waited for so long. */
const lookMs = 10_000;
/** Rates are over at least so long. */
const rateNs = 900_000_000n;
/** Guests asked at a time. */
const concurrency = 16;

/** A look at a pod, with the time of it. */
export interface Measured {
  readonly use: PodUse;
  /** Nanoseconds since the epoch. */
  readonly atNs: bigint;
  /** Billionths of a processor by container id, the pod's under the empty id; absent at the first look. */
  readonly nanoCores: ReadonlyMap<string, bigint>;
}

interface Entry {
  last: Measured | undefined;
  /** The look from which rates are counted. */
  base: Measured | undefined;
  lastMs: number;
  hasDetails: boolean;
  hasFailed: boolean;
  running: { readonly look: Promise<Measured>; readonly details: boolean } | undefined;
}

export class StatsService {
  readonly #core: EngineCore;
  readonly #entries = new Map<string, Entry>();

  constructor(core: EngineCore) {
    this.#core = core;
  }

  /**
   * One pod's use.
   * @param details also what must be asked process by process
   * @throws HuskError `failed-precondition` for a pod that does not run; what the runtime throws
   */
  async of(record: SandboxRecord, details: boolean = false): Promise<Measured> {
    if (record.status.phase !== 'ready') {
      throw new HuskError('failed-precondition', `statistics of pod "${record.id}": it is ${record.status.phase}`);
    }
    const entry = this.#entry(record.id);
    if (entry.last !== undefined && this.#isFresh(entry, details)) return entry.last;
    try {
      const look = this.#look(record, entry, details);
      const waitMs = entry.last === undefined && !entry.hasFailed ? lookMs : answerMs;
      return await withDeadline('statistics of a pod', waitMs, undefined, () => look);
    } catch (caught) {
      entry.hasFailed = true;
      if (entry.last !== undefined) return entry.last;
      throw HuskError.from(caught, 'stats');
    }
  }

  /** Of several pods, those that run and that are or were known; a pod that fails is left out and logged. */
  async list(records: readonly SandboxRecord[], details: boolean = false): Promise<Map<string, Measured>> {
    this.#prune();
    const found = new Map<string, Measured>();
    const queue = records.filter(({ status }) => status.phase === 'ready');
    const worker = async (): Promise<void> => {
      for (let record = queue.shift(); record !== undefined; record = queue.shift()) {
        try {
          found.set(record.id, await this.of(record, details));
        } catch (caught) {
          this.#core.log.warn({ sandbox: record.id, err: caught }, 'pod gives no statistics');
        }
      }
    };
    await Promise.all(Array.from({ length: concurrency }, worker));
    return found;
  }

  #entry(id: string): Entry {
    const known = this.#entries.get(id);
    if (known !== undefined) return known;
    const entry = {
      last: undefined,
      base: undefined,
      lastMs: 0,
      hasDetails: false,
      hasFailed: false,
      running: undefined,
    };
    this.#entries.set(id, entry);
    return entry;
  }

  #isFresh(entry: Entry, details: boolean): boolean {
    return this.#core.clock.monotonicMs() - entry.lastMs < freshMs && (entry.hasDetails || !details);
  }

  /** Those who ask while a look is under way share it. */
  #look(record: SandboxRecord, entry: Entry, details: boolean): Promise<Measured> {
    if (entry.running !== undefined && (entry.running.details || !details)) return entry.running.look;
    const runtime = runtimeOf(this.#core.runtimes, record.runtime);
    const look = withDeadline('statistics of a pod', lookMs, undefined, (signal) =>
      runtime.stats(record, { details }, signal),
    ).then((use) => this.#keep(entry, use, details));
    const running = { look, details };
    entry.running = running;
    const over = (): void => {
      if (entry.running === running) entry.running = undefined;
    };
    look.then(over, over);
    return look;
  }

  #keep(entry: Entry, use: PodUse, details: boolean): Measured {
    const atNs = this.#core.clock.wallNs();
    const { base } = entry;
    const measured = { use, atNs, nanoCores: ratesSince(base, use, atNs, entry.last?.nanoCores) };
    entry.last = measured;
    entry.lastMs = this.#core.clock.monotonicMs();
    entry.hasDetails = details;
    entry.hasFailed = false;
    if (base === undefined || atNs - base.atNs >= rateNs || atNs < base.atNs) entry.base = measured;
    return measured;
  }

  /** Pods that are gone are forgotten. */
  #prune(): void {
    for (const id of this.#entries.keys()) {
      if (this.#core.store.findSandbox(id) === undefined) this.#entries.delete(id);
    }
  }
}

/** Rates since the base, or those known before when the base is too near. */
function ratesSince(
  base: Measured | undefined,
  use: PodUse,
  atNs: bigint,
  before: ReadonlyMap<string, bigint> | undefined,
): ReadonlyMap<string, bigint> {
  if (base === undefined || atNs - base.atNs < rateNs) return before ?? new Map();
  const elapsedNs = atNs - base.atNs;
  const rates = new Map<string, bigint>();
  const add = (id: string, now: bigint | undefined, then: bigint | undefined): void => {
    // A counter that went back began anew.
    if (now !== undefined && then !== undefined && now >= then)
      rates.set(id, ((now - then) * 1_000_000_000n) / elapsedNs);
  };
  add('', use.pod.cpu?.usageNs, base.use.pod.cpu?.usageNs);
  for (const [id, { cgroup }] of use.containers) {
    add(id, cgroup?.cpu?.usageNs, base.use.containers.get(id)?.cgroup?.cpu?.usageNs);
  }
  return rates;
}
