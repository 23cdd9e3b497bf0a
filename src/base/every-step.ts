/** Clean-up that does not stop at the first failure. */
import { HuskError } from './errors.ts';

type Step = readonly [name: string, run: () => Promise<unknown>];

/**
 * Runs every step, in order, whatever fails on the way.
 * @throws HuskError `internal` that names each step that failed; the others have run
 */
export async function everyStep(steps: readonly Step[]): Promise<void> {
  const failures: HuskError[] = [];
  for (const [name, run] of steps) {
    try {
      await run();
    } catch (caught) {
      failures.push(HuskError.from(caught, name));
    }
  }
  const [first] = failures;
  if (first === undefined) return;
  const names = failures.map((failure) => failure.stage).join(', ');
  throw new HuskError('internal', `clean-up of the pod failed at ${names}: ${first.message}`, {
    cause: new AggregateError(failures),
    stage: first.stage ?? 'stop',
    hint: 'the runtime keeps the record and tries again when the pod is stopped or removed again',
  });
}
