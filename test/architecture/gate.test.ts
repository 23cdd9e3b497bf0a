/** Canaries of the other steps of the gate: each is seen to fail on a tree that is not in order. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { repository } from './sources.ts';

interface Outcome {
  readonly status: number | null;
  readonly output: string;
}

interface Tree {
  readonly folder: string;
  readonly run: (command: string, ...args: readonly string[]) => Outcome;
}

/** A small repository with our configuration and the files given. */
function makeTree(t: TestContext, copied: readonly string[], files: Readonly<Record<string, string>>): Tree {
  const folder = mkdtempSync(join(tmpdir(), 'husk-gate-canary-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  for (const path of copied) cpSync(join(repository, path), join(folder, path), { recursive: true });
  symlinkSync(join(repository, 'node_modules'), join(folder, 'node_modules'));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  // A runner of tests that is started by a test must not take itself for a part of it.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const PATH = `${dirname(process.execPath)}:${join(repository, 'node_modules/.bin')}:${env['PATH']}`;
  const run = (command: string, ...args: readonly string[]): Outcome => {
    const { status, stdout, stderr } = spawnSync(command, args, {
      cwd: folder,
      encoding: 'utf8',
      env: { ...env, PATH, HUSK_TEST_LIMIT_S: '5' },
    });
    return { status, output: stdout + stderr };
  };
  return { folder, run };
}

const ok = 'export const one = 1;\n';

test('canary: the format step fails on a badly formatted file, and only then', (t) => {
  const { folder, run } = makeTree(t, ['biome.json'], { 'src/a.ts': ok });
  assert.equal(run('biome', 'check', '--error-on-warnings', '.').status, 0);
  writeFileSync(join(folder, 'src/a.ts'), 'export const one   = "1"');
  assert.equal(run('biome', 'check', '--error-on-warnings', '.').status, 1);
});

test('canary: the compiler refuses what Node cannot run, and loose types', (t) => {
  const { folder, run } = makeTree(t, ['tsconfig.json', 'package.json'], { 'src/a.ts': ok });
  assert.equal(run('tsc', '-p', 'tsconfig.json').status, 0);
  const text = 'export enum E {\n  A,\n}\nexport function f(x): number {\n  return [1][x];\n}\n';
  writeFileSync(join(folder, 'src/a.ts'), text);
  const { status, output } = run('tsc', '-p', 'tsconfig.json');
  assert.notEqual(status, 0);
  for (const code of ['TS1294', 'TS7006']) assert.match(output, new RegExp(code));
});

test('canary: the unused-code step fails on a file, an export and a package that nobody uses', (t) => {
  const { run } = makeTree(t, ['knip.json', 'package.json', 'tsconfig.json'], {
    'src/cli/huskd.ts': "import { used } from '../base/a.ts';\n\nused();\n",
    'src/base/a.ts': 'export const used = (): void => {};\nexport const unusedExport = 1;\n',
    'src/base/orphan.ts': ok,
  });
  const { status, output } = run('knip', '--no-progress');
  assert.equal(status, 1);
  for (const found of ['src/base/orphan.ts', 'unusedExport', '@grpc/grpc-js'])
    assert.ok(output.includes(found), output);
});

test('canary: the generated-code step fails when src/gen was edited, or a proto file was', (t) => {
  const { folder, run } = makeTree(t, ['tools/proto.sh', 'proto/agent', 'proto/gateway'], {});
  assert.equal(run('tools/proto.sh').status, 0);
  assert.equal(run('tools/proto.sh', '--check').status, 0);
  appendFileSync(join(folder, 'src/gen/agent/v1/agent.ts'), '// edited\n');
  assert.equal(run('tools/proto.sh', '--check').status, 1);
  assert.equal(run('tools/proto.sh').status, 0);
  appendFileSync(join(folder, 'proto/agent/v1/agent.proto'), 'message New {}\n');
  assert.equal(run('tools/proto.sh', '--check').status, 1);
});

const runs = [
  ['a passing test', "test('a', () => {});", 0, '1 0 0'],
  ['a failing and a skipped test', "test('a', () => assert.fail());\ntest.skip('b', () => {});", 1, '0 1 1'],
  ['a file that ends the process', 'process.exit(3);', 1, '0 1 0'],
  ['a file that never ends', "test('a', () => {});\nsetInterval(() => {}, 1000);", 1, '0 1 0'],
  ['a file that does not compile', 'const = 1;', 1, '0 1 0'],
] as const;
for (const [what, code, status, counts] of runs) {
  test(`canary: ${what} is counted as "${counts}" (passed failed skipped)`, (t) => {
    const text = `import assert from 'node:assert/strict';\nimport { test } from 'node:test';\nassert.ok(true);\n${code}\n`;
    const { folder, run } = makeTree(t, ['tools', 'package.json'], { 'src/a.test.ts': text });
    const outcome = run('tools/run-tests.sh', 'unit');
    assert.equal(outcome.status, status, outcome.output);
    assert.equal(readFileSync(join(folder, 'build/test/unit.counts'), 'utf8').trim(), counts, outcome.output);
  });
}

test('canary: no test at all is a failure', (t) => {
  const { run } = makeTree(t, ['tools', 'package.json'], {});
  assert.equal(run('tools/run-tests.sh', 'unit').status, 1);
  assert.equal(run('tools/run-tests.sh', 'integration').status, 1);
});
