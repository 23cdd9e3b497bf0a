import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { sleep } from './deadline.ts';
import { annotate, graft, mark, span, type Trace, traced } from './trace.ts';

async function traceOf(work: () => Promise<unknown>): Promise<Trace> {
  const ended = Promise.withResolvers<Trace>();
  await traced('call', undefined, ended.resolve, work).catch(() => undefined);
  return ended.promise;
}

const shape = ({ spans }: Trace): string[] =>
  spans.map(({ name, parent }) => `${name} in ${spans[parent]?.name ?? 'nothing'}`);

test('spans nest as the flow does, also beside one another', async () => {
  const trace = await traceOf(async () => {
    await Promise.all([
      span('left', async () => {
        await sleep(5);
        await span('inner', async () => mark('instant'));
      }),
      span('right', () => sleep(1)),
    ]);
  });
  assert.deepEqual(shape(trace), [
    'call in nothing',
    'left in call',
    'right in call',
    'inner in left',
    'instant in inner',
  ]);
  const [call, left, right] = trace.spans;
  assert.ok(left!.endMs >= 4 && right!.endMs < left!.endMs && call!.endMs >= left!.endMs);
  assert.equal(trace.spans[4]!.startMs, trace.spans[4]!.endMs);
});

test('a failure is marked on every span it passes, and comes through', async () => {
  const trace = await traceOf(() => span('inner', async () => assert.fail('no')));
  assert.deepEqual(
    trace.spans.map(({ failed }) => failed),
    [true, true],
  );
});

test('what is known goes to the span that is under way', async () => {
  const trace = await traceOf(() => span('tool', async () => annotate({ cpuMs: 3 }), { file: 'ip' }));
  assert.deepEqual(trace.spans[1]!.attributes, { file: 'ip', cpuMs: 3 });
});

test('without a trace work just runs', async () => {
  assert.equal(await span('x', async () => 5), 5);
  mark('x');
  annotate({ x: 1 });
});

test('a trace that has been handed on does not change any more', async () => {
  const late = Promise.withResolvers<void>();
  let left: Promise<void> = Promise.resolve();
  const trace = await traceOf(async () => {
    left = span('background', () => late.promise).then(() => mark('after'));
  });
  const before = structuredClone(trace.spans);
  late.resolve();
  await left;
  assert.deepEqual(trace.spans, before);
});

test('spans above the limit are counted, not kept', async () => {
  const trace = await traceOf(async () => {
    for (let index = 0; index < 600; index += 1) mark('again');
  });
  assert.deepEqual([trace.spans.length, trace.dropped], [512, 89]);
});

test('what another machine did is put into the middle of the span around it', async () => {
  const trace = await traceOf(() =>
    span('agent call', async () => {
      await sleep(30);
      graft('guest', [
        { name: 'call', startUs: 0, endUs: 10_000 },
        { name: 'mounts', startUs: 1_000, endUs: 4_000 },
      ]);
    }),
  );
  assert.deepEqual(shape(trace).slice(2), ['guest call in agent call', 'guest mounts in guest call']);
  const [around, call, mounts] = trace.spans.slice(1);
  const left = call!.startMs - around!.startMs;
  assert.ok(Math.abs(around!.endMs - call!.endMs - left) < 5 && left > 5, JSON.stringify(trace.spans));
  assert.equal((mounts!.startMs - call!.startMs).toFixed(3), '1.000');
});

test('the first trace of a process loads no module: a clone of a VM would compile it in the middle of a call', () => {
  const program = `
    const { traced } = await import(process.argv[1]);
    const before = new Set(process.moduleLoadList);
    await traced('call', undefined, () => undefined, async () => undefined);
    console.log(JSON.stringify(process.moduleLoadList.filter((name) => !before.has(name))));`;
  const args = ['--input-type=module', '--eval', program, join(import.meta.dirname, 'trace.ts')];
  assert.deepEqual(JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })), []);
});
