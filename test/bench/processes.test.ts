import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  availableBytes,
  commandOf,
  descendantsOf,
  memoryOf,
  type Process,
  parseStat,
  readProcesses,
} from './processes.ts';

const stat = (pid: number, parent: number, name = 'x', ticks = [1, 2, 3, 4]): string =>
  `${pid} (${name}) S ${parent} 1 5 0 -1 0 0 0 0 0 ${ticks.join(' ')} 20 0 1 0 777 0 0`;

test('a stat line gives name, parent and CPU time, also for names with brackets and blanks', () => {
  const found = parseStat(stat(12, 7, 'a) b (c'));
  assert.deepEqual(found, {
    pid: 12,
    parent: 7,
    name: 'a) b (c',
    session: 5,
    startTicks: '777',
    ownCpuMs: 30,
    cpuMs: 100,
  });
  for (const text of ['', '12 (x', '12 (x) S 1']) assert.equal(parseStat(text), undefined);
});

test('what belongs to a root is everything below it', () => {
  const all = [stat(1, 0), stat(2, 1), stat(3, 2), stat(4, 1), stat(5, 6), stat(6, 5)].map((text) => parseStat(text)!);
  const processes = new Map(all.map((process): [number, Process] => [process.pid, process]));
  assert.deepEqual([...descendantsOf(processes, ({ pid }) => pid === 2)], [2, 3]);
  assert.deepEqual([...descendantsOf(processes, () => false)], [], 'a circle of parents ends');
});

test('this process is found with its command, its memory and its machine', () => {
  const me = readProcesses().get(process.pid);
  assert.equal(me?.parent, process.ppid);
  assert.match(commandOf(process.pid), /node/);
  const { rssBytes, pssBytes } = memoryOf([process.pid]);
  assert.ok(pssBytes > 10e6 && rssBytes >= pssBytes && availableBytes() > rssBytes);
  assert.deepEqual(memoryOf([2 ** 30]), { rssBytes: 0, pssBytes: 0 });
});
