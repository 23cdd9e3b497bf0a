/** Canaries of the lint: each rule that carries the architecture is seen to fail. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { repository } from './sources.ts';

const files: Readonly<Record<string, string>> = {
  'src/base/ok.ts': 'export const ok = 1;\n',
  'src/hypervisor/hypervisor.ts': 'export const seam = 1;\n',
  'src/hypervisor/qemu/argv.ts': 'export const inside = 1;\n',
  'src/vm/good.ts': "import { seam } from '../hypervisor/hypervisor.ts';\nexport const good: number = seam;\n",
  'src/vm/inside.ts': "import { inside } from '../hypervisor/qemu/argv.ts';\nexport const bad: number = inside;\n",
  'src/base/up.ts': "export type { good } from '../vm/good.ts';\n",
  'src/base/dynamic.ts': "export const late: unknown = await import('../vm/good.ts');\n",
  'src/base/a.ts': "import { b } from './b.ts';\nexport const a = (): number => b();\n",
  'src/base/b.ts': "import { a } from './a.ts';\nexport const b = (): number => a();\n",
  'src/base/floating.ts': 'export async function f(): Promise<void> {}\nexport function g(): void {\n  f();\n}\n',
  'src/base/switch.ts':
    "export function f(x: 'a' | 'b'): number {\n  switch (x) {\n    case 'a':\n      return 1;\n  }\n  return 2;\n}\n",
  'src/base/long-file.ts': Array.from({ length: 301 }, (_, index) => `export const v${index} = ${index};\n`).join(''),
  'src/base/long-function.ts': `export function f(x: number): number {\n  let y = x;\n${'  y += 1;\n'.repeat(50)}  return y;\n}\n`,
  'src/base/params.ts':
    'export const f = (a: number, b: number, c: number, d: number, e: number): number => a + b + c + d + e;\n',
  'src/base/env.ts': "export const home: string | undefined = process.env['HOME'];\n",
  'src/cli/env.ts': "export const home: string | undefined = process.env['HOME'];\n",
  'guest-agent/src/up.ts':
    "import { seam } from '../../src/hypervisor/hypervisor.ts';\nexport const bad: number = seam;\n",
};

interface Finding {
  readonly code: string;
  readonly filename: string;
}

let folder = '';
let findings: readonly string[] = [];

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'husk-lint-canary-'));
  for (const file of ['.oxlintrc.json', 'tsconfig.json', 'package.json'])
    copyFileSync(join(repository, file), join(folder, file));
  symlinkSync(join(repository, 'node_modules'), join(folder, 'node_modules'));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  const oxlint = join(repository, 'node_modules/.bin/oxlint');
  const { status, stdout } = spawnSync(oxlint, ['--type-aware', '--format=json', '.'], {
    cwd: folder,
    encoding: 'utf8',
  });
  assert.equal(status, 1, 'oxlint must fail on the canary');
  const { diagnostics } = JSON.parse(stdout) as { diagnostics: readonly Finding[] };
  findings = diagnostics.map(({ code, filename }) => `${filename} ${code}`);
});

after(() => rmSync(folder, { recursive: true, force: true }));

const wanted = [
  'src/vm/inside.ts eslint(no-restricted-imports)',
  'src/base/up.ts eslint(no-restricted-imports)',
  'src/base/dynamic.ts eslint(no-restricted-imports)',
  'guest-agent/src/up.ts eslint(no-restricted-imports)',
  'src/base/a.ts import(no-cycle)',
  'src/base/b.ts import(no-cycle)',
  'src/base/floating.ts typescript(no-floating-promises)',
  'src/base/switch.ts typescript(switch-exhaustiveness-check)',
  'src/base/long-file.ts eslint(max-lines)',
  'src/base/long-function.ts eslint(max-lines-per-function)',
  'src/base/params.ts eslint(max-params)',
  'src/base/env.ts node(no-process-env)',
];
for (const finding of wanted) {
  test(`canary: the lint reports ${finding}`, () => assert.ok(findings.includes(finding), findings.join('\n')));
}

for (const path of ['src/vm/good.ts', 'src/base/ok.ts', 'src/cli/env.ts', 'src/hypervisor/qemu/argv.ts']) {
  test(`canary: the lint has nothing to say about ${path}`, () => {
    assert.deepEqual(
      findings.filter((finding) => finding.startsWith(`${path} `)),
      [],
    );
  });
}
