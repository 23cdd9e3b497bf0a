import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { readSources, repository, type Source } from './sources.ts';

/** The anchor that a heading gets on the usual forges. */
function anchorOf(heading: string): string {
  return heading
    .trim()
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}

function proseOf(text: string): string {
  return text.replaceAll(/^```[\s\S]*?^```/gm, '').replaceAll(/`[^`\n]*`/g, '');
}

/** Targets of links and images that are files of the repository. */
function localLinksOf(text: string): string[] {
  return [...proseOf(text).matchAll(/\]\(\s*<?([^)>\s]+)>?[^)]*\)/g)]
    .map((match) => match[1] ?? '')
    .filter((target) => !/^[a-z][a-z+.-]*:/i.test(target));
}

function brokenLinks({ path, text }: Source): string[] {
  return localLinksOf(text).filter((target) => {
    const [file = '', anchor] = target.split('#');
    const absolute =
      file === '' ? join(repository, path) : resolve(repository, dirname(path), decodeURIComponent(file));
    if (file !== '' && !existsSync(absolute)) return true;
    if (anchor === undefined || (file !== '' && !file.endsWith('.md'))) return false;
    const pointedAt = file === '' ? text : readFileSync(absolute, 'utf8');
    return ![...pointedAt.matchAll(/^#+ (.*)$/gm)].some((match) => anchorOf(match[1] ?? '') === anchor);
  });
}

/** The heading line of the table that a line is in. */
function tableHead(lines: readonly string[], index: number): string {
  let first = index;
  while (lines[first - 1]?.startsWith('|')) first -= 1;
  return lines[first] ?? '';
}

/** What a benchmark wrote: figures and what was wrong with the run, no promises. */
const generated = /<!-- benchmark: generated .*?<!-- end of the benchmark -->/gs;

/** Promises (list items, and rows of tables of promises) that link no test file that exists and do not say "pending". */
function unprovenPromises({ path, text }: Source): string[] {
  const lines = text
    .replaceAll(generated, '')
    .replaceAll(/\n {2,}(?=\S)/g, ' ')
    .split('\n');
  return lines.filter((line, index) => {
    const isRow = line.startsWith('|') && !/^[|\s:-]+$/.test(line) && !/^[|\s:-]+$/.test(lines[index + 1] ?? '');
    if (isRow && !/^\|\s*Promise\b/.test(tableHead(lines, index))) return false;
    if (!isRow && !/^(?:[-*]|\d+\.) /.test(line)) return false;
    if (/\bpending\b/i.test(line)) return false;
    const targets = localLinksOf(line).map((target) => target.split('#')[0] ?? '');
    return !targets.some((file) => file.endsWith('.test.ts') && existsSync(resolve(repository, dirname(path), file)));
  });
}

test('links between the documents resolve', () => {
  const documents = readSources('*.md', '{docs,deploy,images,test,guest-agent,proto}/**/*.md');
  assert.ok(documents.some(({ path }) => path === 'README.md'));
  const broken = documents.flatMap((document) => brokenLinks(document).map((target) => `${document.path}: ${target}`));
  assert.deepEqual(broken, []);
});

test('every promise of SPECIFICATION.md links the test that keeps it, or says that it is pending', () => {
  const [specification] = readSources('SPECIFICATION.md');
  assert.ok(specification !== undefined, 'SPECIFICATION.md is missing');
  assert.deepEqual(unprovenPromises(specification), []);
});

test('canary: a broken link, a broken anchor and an unproven promise are noticed', () => {
  const path = 'README.md';
  assert.deepEqual(brokenLinks({ path, text: '[a](nowhere.md) [b](LICENSE) [c](https://example.org/x)' }), [
    'nowhere.md',
  ]);
  assert.deepEqual(brokenLinks({ path, text: '# One two\n[a](#one-two) [b](#three)' }), ['#three']);
  assert.deepEqual(brokenLinks({ path, text: '```\n[a](nowhere.md)\n```\n' }), []);
  const proof = '[test](test/architecture/documents.test.ts)';
  const table = `| Promise | Test |\n| --- | --- |\n| one | ${proof} |\n| two | [no](test/none.test.ts) |\n| three | pending |`;
  assert.deepEqual(unprovenPromises({ path, text: table }), ['| two | [no](test/none.test.ts) |']);
  assert.deepEqual(unprovenPromises({ path, text: '| Run | Passed |\n| --- | --- |\n| one | 2 |' }), []);
  const run = '<!-- benchmark: generated -->\n- a loaded machine\n<!-- end of the benchmark -->\n- one';
  assert.deepEqual(unprovenPromises({ path, text: run }), ['- one']);
  assert.deepEqual(unprovenPromises({ path, text: `- one\n- two ${proof}\n- three:\n  goes on, ${proof}` }), ['- one']);
});
