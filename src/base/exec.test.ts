import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { run, startToolThread } from './exec.ts';

const shell = (line: string, options: object = {}): Promise<string> =>
  run('sh', ['-c', line], { timeoutMs: 20_000, ...options });

for (const how of ['by the thread', 'by the caller']) {
  describe(`a program that is started ${how}`, () => {
    let thread: AsyncDisposable | undefined;
    before(() => {
      if (how === 'by the thread') thread = startToolThread();
    });
    after(async () => {
      await thread?.[Symbol.asyncDispose]();
    });

    test('gets its input and its environment alone, and its output comes back', async () => {
      process.env['HUSK_EXEC_TEST'] = 'inherited';
      const printed = await shell('cat; echo "$A$HUSK_EXEC_TEST"; pwd', { input: 'in\n', env: { A: 'a' }, cwd: '/' });
      assert.equal(printed, 'in\na\n/\n');
      assert.equal(await shell('exit 0'), '');
    });

    test('fails with its code, its words and the stage', async () => {
      const stage = 'test';
      await assert.rejects(shell('echo why >&2; exit 3', { stage }), {
        kind: 'internal',
        message: /exit code 3: why$/,
      });
      await assert.rejects(shell('kill -9 $$'), { kind: 'internal', message: /signal SIGKILL/ });
      const missing = run('/no/such/program', [], { timeoutMs: 1_000 });
      await assert.rejects(missing, { kind: 'not-found' });
      await assert.rejects(run('true', ['x'.repeat(4 << 20)], { timeoutMs: 1_000 }), { kind: 'internal' });
    });

    test('is ended at its deadline and when its caller goes, even when it does not want to', async () => {
      await assert.rejects(shell('exec sleep 30', { timeoutMs: 100 }), { kind: 'deadline-exceeded' });
      const stubborn = 'trap "" TERM; echo; while :; do sleep 0.1; done';
      await assert.rejects(shell(stubborn, { timeoutMs: 100 }), { kind: 'deadline-exceeded' });
      const controller = new AbortController();
      const cancelled = shell('exec sleep 30', { signal: controller.signal });
      setTimeout(() => controller.abort(), 50);
      await assert.rejects(cancelled, { kind: 'cancelled' });
      await assert.rejects(shell('exec sleep 30', { signal: AbortSignal.abort() }), { kind: 'cancelled' });
    });

    test('may not fill the memory', async () => {
      await assert.rejects(shell('yes'), { kind: 'internal' });
    });

    test('many at once each get their own', async () => {
      const printed = await Promise.all(Array.from({ length: 20 }, (_, index) => shell(`echo ${index}`)));
      assert.deepEqual(
        printed,
        Array.from({ length: 20 }, (_, index) => `${index}\n`),
      );
    });
  });
}
