/**
 * Places where a test may make the daemon fail, to prove that nothing is left behind.
 *
 * A place is named after the step that was just done, so that a fault there meets the effect.
 */
import { HuskError } from './errors.ts';

export interface Failpoints {
  /** Does what was configured for the place: nothing, as a rule. */
  hit(place: string): Promise<void>;
}

type Action = 'error' | 'kill' | 'hang';

/** No place fails. */
export const noFailpoints: Failpoints = { hit: async () => {} };

/**
 * Reads `PLACE=ACTION` pairs separated by `;`. Actions: `error` throws, `kill` ends this process with
 * SIGKILL, `hang` never returns. `PLACE=ACTION*N` acts on the first N hits only.
 *
 * @param text from the environment of a test; undefined or empty: no failpoints
 * @throws HuskError `invalid-argument` for anything else
 */
export function parseFailpoints(text: string | undefined): Failpoints {
  if (text === undefined || text === '') return noFailpoints;
  const places = new Map(text.split(';').map(parsePair));
  return {
    async hit(place) {
      const planned = places.get(place);
      if (planned === undefined || planned.left === 0) return;
      planned.left -= 1;
      await act(planned.action, place);
    },
  };
}

function parsePair(pair: string): [string, { action: Action; left: number }] {
  const match = /^([a-z-]+(?:\.[a-z-]+)*)=(error|kill|hang)(?:\*(\d{1,6}))?$/.exec(pair);
  if (match === null) {
    throw new HuskError(
      'invalid-argument',
      `failpoint "${pair.slice(0, 80)}": wanted PLACE=error, kill or hang, and *N perhaps`,
    );
  }
  const [, place, action, times] = match;
  return [
    place as string,
    { action: action as Action, left: times === undefined ? Number.POSITIVE_INFINITY : Number(times) },
  ];
}

async function act(action: Action, place: string): Promise<void> {
  switch (action) {
    case 'error':
      throw new HuskError('internal', `failpoint "${place}": told to fail`);
    case 'kill':
      process.kill(process.pid, 'SIGKILL');
      return new Promise(() => {});
    case 'hang':
      return new Promise(() => {});
    default:
      throw new HuskError('internal', `failpoint "${place}": no such action "${String(action satisfies never)}"`);
  }
}
