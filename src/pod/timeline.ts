import type { Clock } from '../base/clock.ts';
import { mark } from '../base/trace.ts';
import type { TimelineStep } from './records.ts';

/** Stamps of one pod's start, relative to the request. */
export class Timeline {
  readonly #clock: Clock;
  readonly #start: number;
  readonly #steps: TimelineStep[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#start = clock.monotonicMs();
  }

  /** Marks that a step is done now. */
  stamp(step: string): void {
    mark(step);
    this.#steps.push({ step, atMs: Math.round((this.#clock.monotonicMs() - this.#start) * 10) / 10 });
  }

  steps(): readonly TimelineStep[] {
    return [...this.#steps];
  }
}
