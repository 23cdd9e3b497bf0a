/** The parser of the file server, with the bytes that a hostile guest could send. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { run } from '../../src/base/exec.ts';

const repository = join(import.meta.dirname, '../..');
const sources = join(repository, 'src/volumes/c');
const folder = mkdtempSync(join(tmpdir(), 'husk-fuzz-'));
const messages = 300_000;
after(() => rmSync(folder, { recursive: true, force: true }));

test('no message reads beyond its end, and what passes is whole', async () => {
  const program = join(folder, 'parse-fuzz');
  const checks = ['-g', '-O1', '-fsanitize=address,undefined', '-fno-sanitize-recover=all'];
  const files = [join(sources, 'protocol.c'), join(repository, 'test/fixtures/parse-fuzz.c')];
  const warnings = ['-std=gnu11', '-Wall', '-Wextra', '-Werror'];
  await run('gcc', [...warnings, ...checks, `-I${sources}`, '-o', program, ...files], { timeoutMs: 60_000 });
  for (const seed of ['1', '2026']) {
    const said = await run(program, [String(messages), seed], { timeoutMs: 120_000 });
    assert.match(said, /^\d+ passed, \d+ refused\n$/);
  }
});
