/** Habits that no lint rule knows. Each is checked on the tree, and seen to catch an offender. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeOf, isTestCode, linesWith, readProductSources, readSources, type Source } from './sources.ts';

interface Habit {
  readonly name: string;
  readonly sources: () => Source[];
  /** What an offending line looks like. */
  readonly pattern: RegExp;
  /** Comments count too. */
  readonly withComments?: boolean;
  readonly offenders: readonly string[];
  readonly innocents: readonly string[];
}

const everything = (): Source[] =>
  readSources('{src,guest-agent,images,tools,test}/**/*.{ts,mjs,c,sh}', 'bin/*').filter(
    ({ path }) => !path.startsWith('test/architecture/'),
  );
const tests = (): Source[] => everything().filter(({ path }) => isTestCode(path) || path.startsWith('test/'));

const habits: readonly Habit[] = [
  {
    name: 'product code throws HuskError, never a bare Error',
    sources: readProductSources,
    pattern: /\bthrow new (?:\w*\.)?(?:Type|Range|Syntax|Aggregate)?Error\(/,
    offenders: ['throw new Error(`x`);', '  throw new TypeError();'],
    innocents: ["throw new HuskError('internal', 'x');", '// throw new Error() is not ours'],
  },
  {
    name: 'no module keeps mutable state',
    sources: readProductSources,
    pattern: /^(?:export )?(?:let|var) /,
    offenders: ['let count = 0;', 'export let current: string;'],
    innocents: ['  let inside = 0;', 'const letter = 1;'],
  },
  {
    // The lint keeps `process.env` to src/cli and src/base/exec.ts; it does not know it by other names.
    name: 'no one imports the environment under another name',
    sources: readProductSources,
    pattern: /\bfrom ['"](?:node:)?process['"]/,
    withComments: true,
    offenders: ["import { env } from 'node:process';", 'import p from "process";'],
    innocents: ["import { spawn } from 'node:child_process';"],
  },
  {
    name: 'a note of work left names its issue',
    sources: everything,
    pattern: /\b(?:TODO|FIXME|XXX|HACK)\b(?!\(#\d+\))/,
    withComments: true,
    offenders: ['// TODO: later', '/* FIXME */', '# XXX'],
    innocents: ['// TODO(#12): later', '// mktemp /tmp/husk.XXXXXX'],
  },
  {
    name: 'tests use fakes, not mocks',
    sources: tests,
    pattern: /\bmock\.(?:method|module|fn|getter|setter)\(/,
    offenders: ['t.mock.method(fs, x);'],
    innocents: ['const mocking = 1;'],
  },
];

function offences(habit: Habit, sources: readonly Source[]): string[] {
  return sources.flatMap(({ path, text }) =>
    linesWith({ path, text: habit.withComments === true ? text : codeOf(text) }, habit.pattern),
  );
}

for (const habit of habits) {
  test(habit.name, () => {
    const sources = habit.sources();
    assert.ok(sources.length > 0, 'no file was looked at');
    assert.deepEqual(offences(habit, sources), []);
  });
  test(`canary: an offender of "${habit.name}" is noticed`, () => {
    for (const text of habit.offenders) assert.equal(offences(habit, [{ path: 'src/vm/x.ts', text }]).length, 1, text);
    for (const text of habit.innocents) assert.deepEqual(offences(habit, [{ path: 'src/vm/x.ts', text }]), [], text);
  });
}
