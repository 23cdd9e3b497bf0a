import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run } from './exec.ts';
import { processUsage } from './process-usage.ts';
import { type Trace, traced } from './trace.ts';

test('this process has used the CPU and memory, and a process that is not there has not', () => {
  const usage = processUsage(process.pid);
  assert.ok(usage !== undefined && usage.cpuMs > 0 && usage.minorFaults > 0);
  assert.equal(processUsage(2 ** 30), undefined);
});

test('a program that is run leaves a span with its CPU time', async () => {
  const ended = Promise.withResolvers<Trace>();
  // It closes its output before it ends: where libuv has waited for it first there is no figure.
  const busy = 'const end = Date.now() + 80; while (Date.now() < end); fs.closeSync(1); setTimeout(() => 0, 300)';
  await traced('x', undefined, ended.resolve, () => run(process.execPath, ['-e', busy], { timeoutMs: 20_000 }));
  const { spans } = await ended.promise;
  assert.equal(spans[1]?.name, 'run node');
  assert.ok(Number(spans[1]?.attributes['cpuMs']) >= 50, JSON.stringify(spans[1]));
});
