import { HuskError } from './errors.ts';

type UndoStep = { readonly name: string; readonly run: () => Promise<void> | void };

/**
 * Steps that take back what was acquired, run newest first.
 *
 * Acquire, `add` the undo, and `commit` when everything stands. A failing undo does not
 * stop the others; `unwind` reports all failures in one error.
 */
export class UndoStack {
  #steps: UndoStep[] = [];

  /** Registers the undo of what was just acquired. */
  add(name: string, run: UndoStep['run']): void {
    this.#steps.push({ name, run });
  }

  /** Forgets every step: what was acquired stays. */
  commit(): void {
    this.#steps = [];
  }

  /**
   * Runs every step, newest first.
   * @throws HuskError `internal` that names each step that failed
   */
  async unwind(): Promise<void> {
    const failures: Error[] = [];
    for (const step of this.#steps.splice(0).reverse()) {
      try {
        await step.run();
      } catch (caught) {
        failures.push(HuskError.from(caught, `undo ${step.name}`));
      }
    }
    if (failures.length > 0) {
      const names = failures.map((failure) => HuskError.from(failure).stage ?? 'undo').join(', ');
      throw new HuskError('internal', `clean-up failed: ${names}`, { cause: new AggregateError(failures) });
    }
  }
}

/**
 * Runs `work` with an undo stack: unwound when it throws, kept by `commit` when it returns.
 * A failing unwind is attached to the first error, never replaces it.
 */
export async function undoing<T>(work: (undo: UndoStack) => Promise<T>): Promise<T> {
  const undo = new UndoStack();
  try {
    const result = await work(undo);
    undo.commit();
    return result;
  } catch (caught) {
    try {
      await undo.unwind();
    } catch (cleanup) {
      throw new HuskError(HuskError.from(caught).kind, HuskError.from(caught).message, {
        ...(HuskError.from(caught).stage === undefined ? {} : { stage: HuskError.from(caught).stage as string }),
        cause: new SuppressedError(cleanup, caught, 'clean-up after the failure failed too'),
      });
    }
    throw caught;
  }
}
