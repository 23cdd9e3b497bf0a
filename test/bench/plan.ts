/** How much is measured: the full run, the quick one, and the tiny one of the tests. */
import { HuskError } from '../../src/base/errors.ts';

/** The parts of a run, in the order in which they run. */
export const sectionNames = [
  'pods',
  'native',
  'clone',
  'burst',
  'scale',
  'pull',
  'streams',
  'volumes',
  'critest',
] as const;
export type SectionName = (typeof sectionNames)[number];

export interface Plan {
  readonly name: 'full' | 'quick' | 'tiny';
  readonly sections: readonly SectionName[];
  /** Pods of each subject that count, after those that do not. */
  readonly samples: number;
  readonly warmUps: number;
  /** Further ExecSync calls in each pod. */
  readonly execs: number;
  readonly coldBoots: number;
  readonly burst: { readonly pods: number; readonly rounds: number };
  readonly scale: { readonly pods: number; readonly idleMs: number; readonly reads: number };
  readonly pull: { readonly layers: number; readonly layerMb: number; readonly rounds: number };
  /** Bytes of each bulk transfer in millions, how often, and how many execs to their first byte. */
  readonly streams: {
    readonly megabytes: number;
    readonly rounds: number;
    readonly execs: number;
    /** Clients that read nothing, and how long they do. */
    readonly slow: number;
    readonly slowMs: number;
  };
  readonly volumes: {
    readonly mib: number;
    /** Of each kind at random places. */
    readonly operations: number;
    /** Small files, in the first round alone: they take long. */
    readonly files: number;
    readonly rounds: number;
    /** Pods of each kind in each round, for what a volume adds to a start. */
    readonly starts: number;
  };
  readonly critest: { readonly samples: number };
  /** How long the machine is looked at before the run. */
  readonly calmMs: number;
  /** Whether a load from before the run is waited out. */
  readonly settle: boolean;
}

/** The full one fits in twenty minutes on two cores under emulation: README.md says how they are spent. */
const plans: Readonly<Record<Plan['name'], Omit<Plan, 'name' | 'sections'>>> = {
  full: {
    samples: 30,
    warmUps: 3,
    execs: 3,
    coldBoots: 6,
    burst: { pods: 20, rounds: 5 },
    scale: { pods: 100, idleMs: 60_000, reads: 50 },
    pull: { layers: 10, layerMb: 50, rounds: 3 },
    streams: { megabytes: 400, rounds: 3, execs: 10, slow: 100, slowMs: 5_000 },
    volumes: { mib: 128, operations: 500, files: 10_000, rounds: 2, starts: 7 },
    critest: { samples: 10 },
    calmMs: 5_000,
    settle: true,
  },
  quick: {
    samples: 6,
    warmUps: 1,
    execs: 2,
    coldBoots: 2,
    burst: { pods: 8, rounds: 1 },
    scale: { pods: 12, idleMs: 8_000, reads: 20 },
    pull: { layers: 10, layerMb: 5, rounds: 1 },
    streams: { megabytes: 64, rounds: 2, execs: 3, slow: 20, slowMs: 2_000 },
    volumes: { mib: 32, operations: 100, files: 500, rounds: 1, starts: 3 },
    critest: { samples: 2 },
    calmMs: 2_000,
    settle: true,
  },
  tiny: {
    samples: 1,
    warmUps: 0,
    execs: 1,
    coldBoots: 0,
    burst: { pods: 2, rounds: 1 },
    scale: { pods: 2, idleMs: 500, reads: 2 },
    pull: { layers: 2, layerMb: 1, rounds: 1 },
    streams: { megabytes: 2, rounds: 1, execs: 1, slow: 2, slowMs: 200 },
    volumes: { mib: 1, operations: 10, files: 10, rounds: 1, starts: 1 },
    critest: { samples: 1 },
    calmMs: 600,
    settle: false,
  },
};

/**
 * The plan of a run.
 *
 * @param only comma-separated names of sections; empty: all
 * @param changes numbers by name in place of the plan's: `samples=3,burst.pods=4`
 * @throws HuskError `invalid-argument`
 */
export function makePlan(name: Plan['name'], only = '', changes = ''): Plan {
  const words = only.split(',').filter((word) => word !== '');
  const unknown = words.find((word) => !sectionNames.some((known) => known === word));
  if (unknown !== undefined) {
    throw new HuskError('invalid-argument', `section "${unknown}": must be one of ${sectionNames.join(', ')}`);
  }
  const usual = sectionNames.filter((known) => name === 'full' || known !== 'critest');
  const sections = words.length === 0 ? usual : sectionNames.filter((known) => words.includes(known));
  const plan: Plan = { name, sections, ...structuredClone(plans[name]) };
  for (const change of changes.split(',').filter((part) => part !== '')) applyChange(plan, change);
  return plan;
}

function applyChange(plan: object, change: string): void {
  const [path = '', text = ''] = change.split('=');
  const keys = path.split('.');
  const last = keys.pop() ?? '';
  let place = plan as Record<string, unknown>;
  for (const key of keys) place = (place[key] ?? {}) as Record<string, unknown>;
  const value = Number(text);
  if (typeof place[last] !== 'number' || !/^\d{1,7}$/.test(text)) {
    throw new HuskError('invalid-argument', `change "${change}": must be a number of the plan and its value`);
  }
  place[last] = value;
}
