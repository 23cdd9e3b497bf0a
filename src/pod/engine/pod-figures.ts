/**
 * What is known of one pod's use, and how long it holds.
 *
 * Who has not run has not changed: while the pod's CPU time, which the host sees, has hardly grown since
 * its guest was last asked, the guest's word about its containers is as good as a new one.
 */
import type { HeldFigures, PodUse } from '../usage.ts';

/** A look at a pod, with the time of it. */
export interface Measured {
  readonly use: PodUse;
  /** Nanoseconds since the epoch. */
  readonly atNs: bigint;
  /** Billionths of a processor by container id, the pod's under the empty id; absent at the first look. */
  readonly nanoCores: ReadonlyMap<string, bigint>;
}

/** What is to be known. */
export interface FiguresWish {
  /** The containers that live. */
  readonly containers: readonly string[];
  readonly details: boolean;
}

/** What a pod said of its containers. */
interface Word {
  readonly containers: PodUse['containers'];
  readonly details: boolean;
  readonly atNs: bigint;
  readonly atMs: number;
  /** CPU time of the pod when it had been said. */
  readonly cpuNs: bigint;
  /** CPU time that may pass before another word is wanted. */
  readonly budgetNs: bigint;
  /** False where the host itself sees the containers: there is nothing to save. */
  readonly isDear: boolean;
  /** There is none before it, so no rate. */
  readonly isFirst: boolean;
}

/** Rates are over at least so long. */
const rateNs = 900_000_000n;
const perSecond = 1_000_000_000n;
/** So many times what asking costs a pod may use unasked: then asking costs a quarter of it at most. */
const budgetFactor = 3n;
const [leastBudgetNs, mostBudgetNs] = [20_000_000n, 200_000_000n];
/** A word is waited for when the pod has used this many budgets. */
const waitFactor = 2n;
/** Guests count written bytes at most every ten seconds: what was counted before a pod became quiet is asked again after this. */
const settleMs = 12_000;

export class PodFigures {
  #last: Measured | undefined;
  #lastMs = Number.NEGATIVE_INFINITY;
  #word: Word | undefined;
  /** The word from which rates of containers are counted. */
  #wordBase: Word | undefined;
  /** The look from which the pod's rate is counted. */
  #podBase: Pick<Measured, 'atNs' | 'use'> | undefined;
  #busyMs = Number.NEGATIVE_INFINITY;

  get last(): Measured | undefined {
    return this.#last;
  }

  /** The last look, if it is no older than that. */
  fresh(nowMs: number, ageMs: number, { containers, details }: FiguresWish): Measured | undefined {
    return nowMs - this.#lastMs < ageMs && this.#tells(containers, details) ? this.#last : undefined;
  }

  /** What a look may take over; undefined when the pod has to be asked. */
  held({ containers, details }: FiguresWish): HeldFigures | undefined {
    const word = this.#word;
    if (word === undefined || !word.isDear || !this.#tells(containers, details)) return undefined;
    return { containers: word.containers, untilCpuNs: word.cpuNs + waitFactor * word.budgetNs };
  }

  /** Whether the pod should be asked again soon, though what it said still holds. */
  wantsWord(nowMs: number): boolean {
    const [word, last] = [this.#word, this.#last];
    if (word === undefined || last === undefined || !word.isDear) return false;
    const usedNs = cpuNs(last.use) - word.cpuNs;
    const isUnsettled = word.atMs - this.#busyMs < settleMs && nowMs - this.#busyMs >= settleMs;
    const hasNoRates = word.isFirst && nowMs - word.atMs >= Number(rateNs / 1_000_000n);
    return usedNs > word.budgetNs || isUnsettled || hasNoRates;
  }

  /** Takes in what a look has found. */
  keep(use: PodUse, details: boolean, atNs: bigint, nowMs: number): Measured {
    const isHeld = this.#word !== undefined && use.containers === this.#word.containers;
    const nanoCores = isHeld ? this.#heldRates(use, atNs) : this.#hear(use, details, atNs, nowMs);
    const podRate = this.#podRate(use, atNs);
    if (podRate !== undefined) nanoCores.set('', podRate);
    this.#last = { use, atNs, nanoCores };
    this.#lastMs = nowMs;
    return this.#last;
  }

  #tells(containers: readonly string[], details: boolean): boolean {
    const word = this.#word;
    if (word === undefined || (details && !word.details)) return false;
    return containers.length === word.containers.size && containers.every((id) => word.containers.has(id));
  }

  /** A new word. */
  #hear(use: PodUse, details: boolean, atNs: bigint, nowMs: number): Map<string, bigint> {
    const [before, base] = [this.#word, this.#wordBase];
    const askedNs = use.askedNs ?? 0n;
    const budgetNs = clamp(budgetFactor * askedNs, leastBudgetNs, mostBudgetNs);
    const word = {
      ...{ containers: use.containers, details, atNs, atMs: nowMs },
      ...{ cpuNs: cpuNs(use), budgetNs, isDear: use.askedNs !== undefined, isFirst: before === undefined },
    };
    this.#word = word;
    if (before === undefined || word.cpuNs - before.cpuNs - askedNs > waitFactor * before.budgetNs)
      this.#busyMs = nowMs;
    const elapsedNs = base === undefined ? 0n : atNs - base.atNs;
    if (base === undefined || elapsedNs >= rateNs || elapsedNs < 0n) this.#wordBase = word;
    if (base === undefined || elapsedNs < rateNs) return new Map(this.#last?.nanoCores);
    const rates = new Map<string, bigint>();
    for (const [id, { cgroup }] of use.containers) {
      const rate = rateOf(cgroup?.cpu?.usageNs, base.containers.get(id)?.cgroup?.cpu?.usageNs, elapsedNs);
      if (rate !== undefined) rates.set(id, rate);
    }
    return rates;
  }

  /** Since the word no container can have used more than the whole pod did. */
  #heldRates(use: PodUse, atNs: bigint): Map<string, bigint> {
    const [rates, word] = [new Map(this.#last?.nanoCores), this.#word as Word];
    const elapsedNs = atNs - word.atNs;
    if (elapsedNs < rateNs) return rates;
    const most = ((cpuNs(use) - word.cpuNs) * perSecond) / elapsedNs;
    for (const [id, rate] of rates) if (rate > most) rates.set(id, most);
    return rates;
  }

  #podRate(use: PodUse, atNs: bigint): bigint | undefined {
    const base = this.#podBase;
    const elapsedNs = base === undefined ? 0n : atNs - base.atNs;
    if (base === undefined || elapsedNs >= rateNs || elapsedNs < 0n) this.#podBase = { use, atNs };
    if (base === undefined || elapsedNs < rateNs) return this.#last?.nanoCores.get('');
    return rateOf(use.pod.cpu?.usageNs, base.use.pod.cpu?.usageNs, elapsedNs);
  }
}

function cpuNs({ pod }: PodUse): bigint {
  return pod.cpu?.usageNs ?? 0n;
}

/** A counter that went back began anew: there is no rate. */
function rateOf(now: bigint | undefined, then: bigint | undefined, elapsedNs: bigint): bigint | undefined {
  if (now === undefined || then === undefined || now < then) return undefined;
  return ((now - then) * perSecond) / elapsedNs;
}

function clamp(value: bigint, least: bigint, most: bigint): bigint {
  return value < least ? least : value > most ? most : value;
}
