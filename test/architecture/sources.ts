/** What the architecture tests look at: the repository's own files, as text. */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

/** The repository's root. */
export const repository: string = resolve(import.meta.dirname, '../..');

/** A file of the repository: path from its root, with forward slashes, and text. */
export interface Source {
  readonly path: string;
  readonly text: string;
}

/** Reads the files that match, generated code and build output left out. */
export function readSources(...patterns: readonly string[]): Source[] {
  return globSync([...patterns], { cwd: repository })
    .filter((path) => !/(^|\/)(node_modules|build|gen)\//.test(path))
    .toSorted((a, b) => a.localeCompare(b))
    .map((path) => ({ path, text: readFileSync(join(repository, path), 'utf8') }));
}

/** Product code: what runs on a host or in a guest, without tests and their fakes. */
export function readProductSources(): Source[] {
  return readSources('src/**/*.ts', 'guest-agent/src/**/*.ts').filter(({ path }) => !isTestCode(path));
}

/** Tests, contract suites and the fakes and fixtures beside them. */
export function isTestCode(path: string): boolean {
  return /\.(test|contract)\.ts$|(^|\/|-)(fake|fixture)[^/]*\.ts$/.test(path);
}

/**
 * The text with comments and the contents of strings blanked, lines kept, so that a word in a
 * comment is not taken for code. Template literals stay: they hold code.
 */
export function codeOf(text: string): string {
  return text.replaceAll(
    /\/\*[\s\S]*?\*\/|(?<![:'"`/\\])\/\/[^\n]*|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/g,
    (found) => (found.startsWith('/') ? found.replaceAll(/[^\n]/g, ' ') : `''`),
  );
}

/** Every relative import of a file (static, type, dynamic, re-export), as paths from the root. */
export function relativeImportsOf({ path, text }: Source): string[] {
  const found = text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*['"](\.{1,2}\/[^'"]+)['"]/g);
  return [...found].map((match) => relative(repository, resolve(repository, dirname(path), match[1] ?? '')));
}

/** `path:line: text` of each line of the code that matches. */
export function linesWith({ path, text }: Source, pattern: RegExp): string[] {
  return text
    .split('\n')
    .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : []));
}
