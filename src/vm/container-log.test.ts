import assert from 'node:assert/strict';
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { type ContainerLog, openContainerLog } from './container-log.ts';
import { decodeIntent, encodeIntent, resolveIntent } from './log-position.ts';

let root: string;
let log: ContainerLog;
const paths = () => ({ folder: join(root, 'logs'), relative: 'web/0.log', position: join(root, 'position') });
const content = (): string => readFileSync(join(root, 'logs/web/0.log'), 'utf8');
const bytes = (text: string): Uint8Array => Buffer.from(text);

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'log-'));
  log = await openContainerLog(paths());
});
afterEach(async () => {
  await log.close();
  rmSync(root, { recursive: true });
});

test('lines are appended in order and the offsets follow', async () => {
  await log.append('stdout', 2n, bytes('one\n'));
  await log.append('stderr', 5n, bytes('two\n'));
  assert.equal(content(), 'one\ntwo\n');
  assert.deepEqual(log.offsets, { stdout: 2n, stderr: 5n });
});

test('lines that come again after a reconnect are skipped', async () => {
  await log.append('stdout', 2n, bytes('one\n'));
  await log.append('stdout', 2n, bytes('one\n'));
  assert.equal(content(), 'one\n');
});

test('whoever waits for offsets goes on once both streams are there, and at once when they are', async () => {
  let there = false;
  const reached = log.reached({ stdout: 2n, stderr: 5n }).then(() => void (there = true));
  await log.append('stdout', 2n, bytes('one\n'));
  await setImmediate();
  assert.equal(there, false);
  await log.append('stderr', 5n, bytes('two\n'));
  await reached;
  await log.reached(log.offsets);
});

test('a daemon that starts again goes on where the file stands', async () => {
  await log.append('stdout', 2n, bytes('one\n'));
  await log.close();
  log = await openContainerLog(paths());
  assert.deepEqual(log.offsets, { stdout: 2n, stderr: 0n });
});

for (const [words, damage, offset, left] of [
  ['before the append', () => truncateSync(join(root, 'logs/web/0.log'), 4), 2n, 'one\n'],
  ['in the middle of the append', () => truncateSync(join(root, 'logs/web/0.log'), 6), 2n, 'one\n'],
  ['after the append', () => {}, 4n, 'one\ntwo\n'],
] as const) {
  test(`a crash ${words} neither loses nor repeats a line`, async () => {
    await log.append('stdout', 2n, bytes('one\n'));
    await log.append('stdout', 4n, bytes('two\n'));
    await log.close();
    damage();
    log = await openContainerLog(paths());
    assert.equal(log.offsets.stdout, offset);
    assert.equal(content(), left);
  });
}

test('after rotation the old file stays as it is and the new one fills', async () => {
  await log.append('stdout', 2n, bytes('one\n'));
  renameSync(join(root, 'logs/web/0.log'), join(root, 'logs/web/0.log.1'));
  await log.reopen();
  await log.append('stdout', 4n, bytes('two\n'));
  assert.equal(content(), 'two\n');
  assert.equal(readFileSync(join(root, 'logs/web/0.log.1'), 'utf8'), 'one\n');
});

test('a crash between the rename and the reopen is resolved by the renamed file', async () => {
  await log.append('stdout', 2n, bytes('one\n'));
  await log.close();
  renameSync(join(root, 'logs/web/0.log'), join(root, 'logs/web/0.log.20260101-000000'));
  truncateSync(join(root, 'logs/web/0.log.20260101-000000'), 2);
  log = await openContainerLog(paths());
  assert.equal(log.offsets.stdout, 0n);
  assert.equal(statSync(join(root, 'logs/web/0.log.20260101-000000')).size, 0);
});

test('a torn position file counts as none', async () => {
  await log.close();
  writeFileSync(paths().position, '12 13');
  appendFileSync(paths().position, '\0\0');
  log = await openContainerLog(paths());
  assert.deepEqual(log.offsets, { stdout: 0n, stderr: 0n });
  assert.ok(existsSync(paths().position));
});

test('every intent survives its text, and resolves to before or after', () => {
  const big = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  const offsets = fc.record({ stdout: big, stderr: big }, { noNullPrototype: true });
  const size = fc.nat(2 ** 31 - 1);
  fc.assert(
    fc.property(
      big,
      size,
      fc.nat(1 << 20),
      offsets,
      offsets,
      size,
      (inode, sizeBefore, grown, before, after, found) => {
        const intent = { inode, sizeBefore, sizeAfter: sizeBefore + grown, before, after };
        assert.deepEqual(decodeIntent(encodeIntent(intent)), intent);
        const { offsets: resolved } = resolveIntent(intent, found);
        assert.ok(resolved === before || resolved === after);
      },
    ),
  );
});
