import assert from 'node:assert/strict';
import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import fc from 'fast-check';
import type { TreeEntry } from '../../../src/gen/agent/v1/agent.ts';
import { type KnownNode, planTree, type Tree, treeOf } from './tree.ts';
import { writeTree } from './tree-files.ts';

const owned = { mode: 0o644, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
const path = (text: string): Buffer => Buffer.from(text, 'latin1');
const folder = (at: string): TreeEntry => ({
  ...owned,
  mode: 0o755,
  path: path(at),
  kind: { $case: 'folder', value: {} },
});
const file = (at: string, text: string): TreeEntry => ({
  ...owned,
  path: path(at),
  kind: { $case: 'content', value: Buffer.from(text) },
});
const link = (at: string, target: string): TreeEntry => ({
  ...owned,
  path: path(at),
  kind: { $case: 'link', value: Buffer.from(target) },
});
const state = (stamp: string, text: string): Tree =>
  treeOf([
    folder(''),
    folder(`..${stamp}`),
    file(`..${stamp}/key`, text),
    link('..data', `..${stamp}`),
    link('key', '..data/key'),
  ]);

let root: string;
beforeEach(() => (root = join(mkdtempSync(join(tmpdir(), 'pushed-')), 'root')));
afterEach(() => rmSync(join(root, '..'), { recursive: true, force: true }));

test('a new state goes beside the old one before the link is exchanged, and the old one goes last', () => {
  const known = writeTree(root, new Map(), state('1', 'one'));
  assert.equal(readFileSync(join(root, 'key'), 'utf8'), 'one');
  const plan = planTree(known, state('2', 'two'));
  assert.deepEqual(plan, {
    clear: [],
    make: ['..2', '..2/key'],
    replace: ['', '..data', 'key'],
    link: [],
    remove: ['..1/key', '..1'],
  });
  const inode = lstatSync(join(root, 'key')).ino;
  writeTree(root, known, state('2', 'two'));
  assert.equal(readFileSync(join(root, 'key'), 'utf8'), 'two');
  assert.deepEqual(readdirSync(root).toSorted(), ['..2', '..data', 'key']);
  assert.equal(lstatSync(join(root, 'key')).ino, inode, 'what did not change was not touched');
});

test('a single file keeps its inode: it is mounted', () => {
  const known = writeTree(root, new Map(), treeOf([file('', 'one, which is longer')]));
  const { ino } = statSync(root);
  writeTree(root, known, treeOf([{ ...file('', 'two'), mode: 0o600 }]));
  assert.deepEqual([readFileSync(root, 'utf8'), statSync(root).ino, statSync(root).mode & 0o777], ['two', ino, 0o600]);
});

test('content in parts is put together; other repetitions are refused', () => {
  assert.equal((treeOf([file('', 'a'), file('', 'b')]).get('') as { content: Buffer }).content.toString(), 'ab');
  assert.throws(() => treeOf([folder(''), folder('')]), /twice/);
  assert.throws(() => treeOf([folder(''), file('a', ''), file('b', ''), file('a', '')]), /twice/);
});

for (const bad of ['/etc/passwd', '..', 'a/../b', 'a//b', './a', 'missing/a', 'file/a', 'link/a', 'nul\0']) {
  test(`path ${JSON.stringify(bad)} is refused`, () => {
    assert.throws(() => treeOf([folder(''), file('file', ''), link('link', '/etc'), file(bad, 'x')]), /volume tree/);
  });
}

/** Paths of all that is below, links not followed. */
function below(top: string, at = ''): string[] {
  return readdirSync(join(top, at), { withFileTypes: true }).flatMap((entry) => {
    const name = at === '' ? entry.name : `${at}/${entry.name}`;
    return entry.isDirectory() ? [name, ...below(top, name)] : [name];
  });
}

test('whatever follows whatever, the files are what the last state says', () => {
  const name = fc.constantFrom('a', 'b', '..data');
  const node = fc.oneof(
    fc.constant('folder'),
    fc.constantFrom('file x', 'file y'),
    fc.constantFrom('link a', 'link /etc'),
  );
  const tree = fc.dictionary(name, fc.tuple(node, fc.dictionary(name, node)));
  const treeFrom = (value: Readonly<Record<string, readonly [string, Readonly<Record<string, string>>]>>): Tree => {
    const entries = [folder('')];
    const add = (at: string, text: string): void => {
      const [kind = '', content = ''] = text.split(' ');
      entries.push(kind === 'folder' ? folder(at) : kind === 'file' ? file(at, content) : link(at, content));
    };
    for (const [top, [kind, below]] of Object.entries(value)) {
      add(top, kind);
      if (kind === 'folder') for (const [inner, text] of Object.entries(below)) add(`${top}/${inner}`, text);
    }
    return treeOf(entries);
  };
  fc.assert(
    fc.property(fc.array(tree, { maxLength: 4 }), (states) => {
      rmSync(root, { recursive: true, force: true });
      let known: ReadonlyMap<string, KnownNode> = new Map();
      for (const value of states) {
        const next = treeFrom(value);
        known = writeTree(root, known, next);
        const wanted = [...next.keys()].filter((each) => each !== '');
        assert.deepEqual(new Set(below(root)), new Set(wanted));
        for (const [at, { kind }] of next) {
          const stats = lstatSync(join(root, at));
          assert.equal(stats.isDirectory() ? 'folder' : stats.isSymbolicLink() ? 'link' : 'file', kind);
        }
      }
    }),
    { numRuns: 200 },
  );
});
