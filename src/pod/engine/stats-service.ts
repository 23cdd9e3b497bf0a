/** What pods use. Each is looked at once a second at most, and never waited for longer than a list may take. */
import { withDeadline } from '../../base/deadline.ts';
import { describeError, HuskError } from '../../base/errors.ts';
import { Slots } from '../../base/slots.ts';
import { containerState } from '../container-state.ts';
import type { SandboxRecord } from '../records.ts';
import type { HeldFigures } from '../usage.ts';
import type { EngineCore } from './core.ts';
import { type FiguresWish, type Measured, PodFigures } from './pod-figures.ts';
import { runtimeOf } from './runtimes.ts';

export type { Measured } from './pod-figures.ts';

/** A look is good for so long. */
const freshMs = 1_000;
/** After this an answer goes out with what was known before: one stuck guest must not hold up the others. */
const answerMs = 2_000;
/** And after this the look is given up. A pod that was never seen and never failed is waited for so long. */
const lookMs = 10_000;
/** Pods asked at a time without anybody waiting for it. */
const askedLater = 2;
/** Who scrapes metrics does so every minute at least. */
const detailsMs = 120_000;

interface Entry {
  readonly figures: PodFigures;
  hasFailed: boolean;
  /** When somebody last wanted details. */
  detailsAtMs: number;
  /** A word of the pod is on its way or in line, for nobody in particular. */
  isAskedLater: boolean;
  readonly looks: Set<Look>;
}

interface Look {
  readonly details: boolean;
  readonly mayHold: boolean;
  readonly startedMs: number;
  readonly found: Promise<Measured>;
}

export class StatsService {
  readonly #core: EngineCore;
  readonly #entries = new Map<string, Entry>();
  readonly #later = new Slots(askedLater);

  constructor(core: EngineCore) {
    this.#core = core;
  }

  /**
   * One pod's use; the pod itself is asked.
   * @throws HuskError `failed-precondition` for a pod that does not run; what the runtime throws
   */
  async of(record: SandboxRecord): Promise<Measured> {
    if (record.status.phase !== 'ready') {
      throw new HuskError('failed-precondition', `statistics of pod "${record.id}": it is ${record.status.phase}`);
    }
    const containers = this.#liveContainers().get(record.id) ?? [];
    return await this.#answer(record, this.#entry(record.id), { containers, details: false, held: undefined });
  }

  /**
   * Of several pods, those that run and that are or were known; a pod that fails is left out and logged.
   * @param details also what must be asked process by process
   */
  async list(records: readonly SandboxRecord[], details: boolean = false): Promise<Map<string, Measured>> {
    this.#prune();
    const live = this.#liveContainers();
    const found = new Map<string, Measured>();
    const ready = records.filter(({ status }) => status.phase === 'ready');
    await Promise.all(
      ready.map(async (record) => {
        const entry = this.#entry(record.id);
        if (details) entry.detailsAtMs = this.#core.clock.monotonicMs();
        const wish = { containers: live.get(record.id) ?? [], details };
        try {
          const held = entry.figures.held(wish);
          found.set(record.id, await this.#answer(record, entry, { ...wish, held }));
          if (entry.figures.wantsWord(this.#core.clock.monotonicMs())) this.#askLater(record, entry);
        } catch (caught) {
          this.#core.log.warn({ sandbox: record.id, err: caught }, 'pod gives no statistics');
        }
      }),
    );
    return found;
  }

  #entry(id: string): Entry {
    const known = this.#entries.get(id);
    if (known !== undefined) return known;
    const entry = {
      figures: new PodFigures(),
      hasFailed: false,
      detailsAtMs: Number.NEGATIVE_INFINITY,
      isAskedLater: false,
      looks: new Set<Look>(),
    };
    this.#entries.set(id, entry);
    return entry;
  }

  /** Waits for a look, but no longer than till two seconds after it began when an older one is known. */
  async #answer(
    record: SandboxRecord,
    entry: Entry,
    wish: FiguresWish & { readonly held: HeldFigures | undefined },
  ): Promise<Measured> {
    const nowMs = this.#core.clock.monotonicMs();
    const fresh = entry.figures.fresh(nowMs, freshMs, wish);
    if (fresh !== undefined) return fresh;
    try {
      const look = this.#look(record, entry, wish);
      const longestMs = entry.figures.last === undefined && !entry.hasFailed ? lookMs : answerMs;
      const waitMs = Math.max(0, look.startedMs + longestMs - nowMs);
      return await withDeadline('statistics of a pod', waitMs, undefined, () => look.found);
    } catch (caught) {
      entry.hasFailed = true;
      if (entry.figures.last !== undefined) return entry.figures.last;
      throw HuskError.from(caught, 'stats');
    }
  }

  /** Those who ask while such a look is under way share it. */
  #look(
    record: SandboxRecord,
    entry: Entry,
    { details, held }: { readonly details: boolean; readonly held: HeldFigures | undefined },
  ): Look {
    const mayHold = held !== undefined;
    const shared = [...entry.looks].find((look) => look.mayHold === mayHold && (look.details || !details));
    if (shared !== undefined) return shared;
    const runtime = runtimeOf(this.#core.runtimes, record.runtime);
    const found = withDeadline('statistics of a pod', lookMs, undefined, (signal) =>
      runtime.stats(record, { details, held }, signal),
    ).then((use) => {
      const { clock } = this.#core;
      entry.hasFailed = false;
      return entry.figures.keep(use, details, clock.wallNs(), clock.monotonicMs());
    });
    const look = { details, mayHold, startedMs: this.#core.clock.monotonicMs(), found };
    entry.looks.add(look);
    const over = (): void => void entry.looks.delete(look);
    found.then(over, over);
    return look;
  }

  /** A new word for the next list: what the pod said last is about to be too old. */
  #askLater(record: SandboxRecord, entry: Entry): void {
    if (entry.isAskedLater) return;
    entry.isAskedLater = true;
    const ask = async (): Promise<void> => {
      if (this.#core.store.findSandbox(record.id)?.status.phase !== 'ready') return;
      const details = this.#core.clock.monotonicMs() - entry.detailsAtMs < detailsMs;
      await this.#look(record, entry, { details, held: undefined }).found;
    };
    void this.#later
      .run(ask)
      .catch((caught: unknown) => {
        this.#core.log.debug({ sandbox: record.id, error: describeError(caught) }, 'pod was asked in vain');
      })
      .finally(() => (entry.isAskedLater = false));
  }

  /** Containers of which figures are expected, by pod. */
  #liveContainers(): Map<string, string[]> {
    const live = new Map<string, string[]>();
    for (const { id, sandboxId, status } of this.#core.store.containers()) {
      if (status.intended || status.removing || containerState(status) === 'exited') continue;
      const ids = live.get(sandboxId);
      if (ids === undefined) live.set(sandboxId, [id]);
      else ids.push(id);
    }
    return live;
  }

  /** Pods that are gone are forgotten. */
  #prune(): void {
    for (const id of this.#entries.keys()) {
      if (this.#core.store.findSandbox(id) === undefined) this.#entries.delete(id);
    }
  }
}
