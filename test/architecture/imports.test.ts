import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { guestAgentMayImport, importTable, seamFiles } from '../../tools/import-table.ts';
import { readSources, relativeImportsOf, repository, type Source } from './sources.ts';

/** Why a file may not import a path, or nothing when it may. */
function objection(from: string, to: string): string | undefined {
  const [, folder = '', ...rest] = to.split('/');
  if (from.startsWith('guest-agent/')) {
    if (to.startsWith('guest-agent/')) return undefined;
    return to.startsWith('src/') && guestAgentMayImport.includes(folder) ? undefined : 'not shared with the guest';
  }
  const own = from.split('/')[1] ?? '';
  if (!to.startsWith('src/')) return 'outside src/';
  if (folder === own) return undefined;
  const rule = importTable[own];
  if (rule?.all?.includes(folder) === true) return undefined;
  if (rule?.seams?.includes(folder) === true) {
    return seamFiles[folder]?.includes(rest.join('/')) === true ? undefined : `not the seam of ${folder}`;
  }
  return `not in the row of ${own}`;
}

function objections(sources: readonly Source[]): string[] {
  return sources.flatMap((source) =>
    relativeImportsOf(source).flatMap((to) => {
      const why = objection(source.path, to);
      return why === undefined ? [] : [`${source.path} imports ${to}: ${why}`];
    }),
  );
}

test('every folder of src has a row in the import table', () => {
  const folders = readdirSync(join(repository, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  assert.deepEqual(
    folders.map(({ name }) => name).filter((name) => !(name in importTable)),
    [],
  );
});

test('the import table has no cycle: a folder never comes to import itself', () => {
  const reach = (folder: string, seen: ReadonlySet<string>): ReadonlySet<string> => {
    let all = seen;
    for (const next of [...(importTable[folder]?.all ?? []), ...(importTable[folder]?.seams ?? [])]) {
      if (!all.has(next)) all = reach(next, new Set([...all, next]));
    }
    return all;
  };
  for (const folder of Object.keys(importTable)) assert.ok(!reach(folder, new Set()).has(folder), folder);
});

test('every seam in the import table is a file', () => {
  for (const [folder, files] of Object.entries(seamFiles)) {
    for (const file of files) assert.ok(existsSync(join(repository, 'src', folder, file)), `src/${folder}/${file}`);
  }
});

test('imports follow the import table', () => {
  // Tests are held to the table by the lint alone: they also import what is outside src/.
  const product = readSources('src/**/*.ts', 'guest-agent/src/**/*.ts').filter(
    ({ path }) => !path.endsWith('.test.ts'),
  );
  assert.ok(product.length > 0);
  assert.deepEqual(objections(product), []);
});

const canaries = [
  ['a layer below', 'src/vm/x.ts', '../pod/records.ts', true],
  ['a seam', 'src/vm/x.ts', '../hypervisor/hypervisor.ts', true],
  ['an implementation behind a seam', 'src/vm/x.ts', '../hypervisor/qemu/argv.ts', false],
  ['a layer above', 'src/pod/sub/x.ts', '../../cri/server.ts', false],
  ['a folder beside', 'src/network/x.ts', '../images/image-store.ts', false],
  ['a host-only folder from the guest', 'guest-agent/src/x.ts', '../../src/jail/jail.ts', false],
  ['a shared folder from the guest', 'guest-agent/src/x.ts', '../../src/base/errors.ts', true],
] as const;
for (const [what, path, specifier, allowed] of canaries) {
  test(`canary: importing ${what} is ${allowed ? 'allowed' : 'refused'}`, () => {
    const forms = [
      `import { a } from '${specifier}';`,
      `export type { a } from '${specifier}';`,
      `await import('${specifier}');`,
    ];
    for (const text of forms) assert.equal(objections([{ path, text }]).length === 0, allowed, text);
  });
}
