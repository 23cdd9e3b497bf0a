/**
 * Writes .oxlintrc.json: the rules below, and the import table as per-folder bans.
 *
 *   node tools/lint-config.ts           write the file
 *   node tools/lint-config.ts --check   fail when the file is not what this gives
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { type FolderRule, guestAgentMayImport, importTable, seamFiles } from './import-table.ts';

const target = new URL('../.oxlintrc.json', import.meta.url);

interface Ban {
  readonly group: readonly string[];
  readonly message: string;
}

/** How a file of src/ names the folders beside its own, from itself or from a subfolder. */
const fromSrc = ['..', '../..', '../../..'];
/** How a file of guest-agent/src/ names them. */
const fromGuestAgent = ['**/src'];

/** The bans of one folder: what is in no list, and all but the seam of what is in `seams`. */
function bansFor(folder: string, rule: FolderRule, prefixes: readonly string[]): Ban[] {
  const bans: Ban[] = [];
  for (const other of Object.keys(importTable)) {
    if (other === folder || rule.all?.includes(other) === true) continue;
    const group = prefixes.map((prefix) => `${prefix}/${other}/**`);
    if (rule.seams?.includes(other) === true) {
      for (const file of seamFiles[other] ?? []) group.push(...prefixes.map((prefix) => `!${prefix}/${other}/${file}`));
      bans.push({ group, message: `${folder} knows only the seam of ${other} (tools/import-table.ts)` });
    } else {
      bans.push({ group, message: `${folder} must not import ${other} (tools/import-table.ts)` });
    }
  }
  return bans;
}

function importOverride(files: string, bans: readonly Ban[]): object {
  return { files: [files], rules: { 'no-restricted-imports': ['error', { patterns: bans }] } };
}

const sizes = {
  'max-lines': ['error', { max: 300, skipBlankLines: true, skipComments: true }],
  'max-lines-per-function': ['error', { max: 50, skipBlankLines: true, skipComments: true }],
  'max-params': ['error', { max: 4 }],
};

const rules = {
  ...sizes,
  eqeqeq: 'error',
  'no-console': 'error',
  'no-param-reassign': 'error',
  'no-restricted-properties': [
    'error',
    { object: 'Math', property: 'random', message: 'use the generator that is passed in, or node:crypto' },
  ],
  'no-throw-literal': 'error',
  'no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
  'no-var': 'error',
  'import/no-cycle': 'error',
  'import/no-default-export': 'error',
  'node/no-process-env': 'error',
  'typescript/ban-ts-comment': 'error',
  'typescript/explicit-module-boundary-types': 'error',
  'typescript/no-explicit-any': 'error',
  'typescript/no-floating-promises': 'error',
  'typescript/no-misused-promises': 'error',
  'typescript/no-non-null-assertion': 'error',
  'typescript/only-throw-error': 'error',
  'typescript/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
  'unicorn/prefer-node-protocol': 'error',
  // Off, each with its reason.
  // A union that ends in `string` documents the values that are known.
  'typescript/no-redundant-type-constituents': 'off',
  // `...['-name', value]` keeps the pairs of an argument vector together.
  'unicorn/no-useless-spread': 'off',
  // A stream's methods answer by callback, also when a promise does the work.
  'promise/no-callback-in-promise': 'off',
  // What comes over a wire is looked at by codes of control characters.
  'no-control-regex': 'off',
};

const config = {
  $schema: './node_modules/oxlint/configuration_schema.json',
  plugins: ['typescript', 'unicorn', 'oxc', 'import', 'node', 'promise'],
  categories: { correctness: 'error' },
  env: { node: true, es2024: true },
  ignorePatterns: ['src/gen/**', 'build/**', 'node_modules/**'],
  rules,
  overrides: [
    ...Object.entries(importTable).map(([folder, rule]) =>
      importOverride(`src/${folder}/**/*.ts`, bansFor(folder, rule, fromSrc)),
    ),
    importOverride('guest-agent/src/**/*.ts', bansFor('guest-agent', { all: guestAgentMayImport }, fromGuestAgent)),
    // Programs talk to their user; only they read the environment (exec.ts hands PATH on).
    { files: ['src/cli/**/*.ts', 'tools/**/*.ts'], rules: { 'no-console': 'off', 'node/no-process-env': 'off' } },
    { files: ['src/base/exec.ts'], rules: { 'node/no-process-env': 'off' } },
    // node:test finds a reporter by its default export.
    { files: ['tools/count-reporter.ts'], rules: { 'import/no-default-export': 'off' } },
    // A list of names, one a line.
    { files: ['src/oci/seccomp-syscalls.ts'], rules: { 'max-lines': 'off' } },
    {
      // A test is a list of cases: its length is no sign of a tangle, and node:test awaits for us.
      files: ['**/*.test.ts', '**/*.contract.ts', '**/{fake,fixture}*.ts', '**/*-{fake,fixture}.ts', 'test/**/*.ts'],
      rules: {
        'max-lines': 'off',
        'max-lines-per-function': 'off',
        'max-params': 'off',
        'no-console': 'off',
        'node/no-process-env': 'off',
        'typescript/no-floating-promises': [
          'error',
          {
            allowForKnownSafeCalls: [
              { from: 'package', package: 'node:test', name: ['test', 'it', 'describe', 'suite'] },
            ],
          },
        ],
        'typescript/no-non-null-assertion': 'off',
      },
    },
  ],
};

const text = `${JSON.stringify(config, null, 2)}\n`;
if (process.argv.includes('--check')) {
  if (readFileSync(target, 'utf8') !== text) {
    console.error('.oxlintrc.json is not what tools/lint-config.ts gives: run "node tools/lint-config.ts"');
    process.exitCode = 1;
  }
} else {
  writeFileSync(target, text);
}
