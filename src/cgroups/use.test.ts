import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { readUseV1 } from './use-v1.ts';
import { readUseV2 } from './use-v2.ts';

/** A folder with these files, for the time of a test. */
async function withFiles(
  files: Readonly<Record<string, string>>,
  use: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'husk-cgroup-'));
  try {
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), text);
    }
    await use(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('cgroup v2: every file becomes its numbers, processes of cgroups below count', async () => {
  const pressure = 'some avg10=1.50 avg60=0.00 avg300=0.00 total=42\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n';
  const files = {
    'cpu.stat': 'usage_usec 3000\nuser_usec 2000\nsystem_usec 1000\nnr_periods 4\nnr_throttled 1\nthrottled_usec 9\n',
    'cpu.pressure': pressure,
    'memory.stat': 'anon 100\nfile 50\nkernel 20\nfile_mapped 5\ninactive_file 30\npgfault 7\npgmajfault 2\n',
    'memory.current': '170\n',
    'memory.events': 'low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n',
    'memory.max': 'max\n',
    'io.stat': '254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n7:0 \n',
    'pids.current': '5\n',
    'pids.max': '100\n',
    'hugetlb.2MB.current': '2097152\n',
    'hugetlb.2MB.rsvd.current': '0\n',
    'cgroup.procs': '10\n11\n',
    'exec-1/cgroup.procs': '12\n',
  };
  await withFiles(files, async (folder) => {
    const { cpu, memory, io, pids, hugetlb } = readUseV2(folder);
    assert.deepEqual([cpu?.usageNs, cpu?.throttledNs, cpu?.periods], [3_000_000n, 9_000n, 4n]);
    assert.deepEqual(cpu?.pressure?.some, { totalUs: 42n, avg10: 1.5, avg60: 0, avg300: 0 });
    assert.deepEqual([memory?.usageBytes, memory?.workingSetBytes, memory?.limitBytes], [170n, 140n, 0n]);
    assert.deepEqual([memory?.limitHits, memory?.oomKills, memory?.maxUsageBytes], [3n, 1n, 0n]);
    assert.equal(memory?.pressure, undefined);
    assert.deepEqual(io?.devices[0], { major: 254, minor: 0, readBytes: 1n, writeBytes: 2n, reads: 3n, writes: 4n });
    assert.deepEqual(pids, { processes: 3n, threads: 5n, maxThreads: 100n });
    assert.deepEqual(hugetlb, [{ pageSize: '2MB', usageBytes: 2_097_152n, maxUsageBytes: 0n }]);
  });
});

test('cgroup v1: the controllers that are there become their numbers', async () => {
  const files = {
    'cpuacct/cpuacct.usage': '3000000\n',
    'cpuacct/cpuacct.stat': 'user 2\nsystem 1\n',
    'cpu/cpu.stat': 'nr_periods 4\nnr_throttled 1\nthrottled_time 9000\n',
    'memory/memory.usage_in_bytes': '170\n',
    'memory/memory.max_usage_in_bytes': '200\n',
    'memory/memory.limit_in_bytes': '9223372036854771712\n',
    'memory/memory.failcnt': '3\n',
    'memory/memory.stat': 'rss 1\ntotal_rss 100\ntotal_cache 50\ntotal_inactive_file 30\ntotal_pgfault 7\n',
    'memory/memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 1\n',
    'blkio/blkio.throttle.io_service_bytes_recursive': '8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n',
    'blkio/blkio.throttle.io_serviced_recursive': '8:0 Read 1\n8:0 Write 2\n',
    'pids/pids.current': '5\n',
    'pids/pids.max': 'max\n',
    'pids/cgroup.procs': '10\n',
  };
  await withFiles(files, async (folder) => {
    const names = ['cpu', 'cpuacct', 'memory', 'blkio', 'pids'];
    const { cpu, memory, io, pids, hugetlb } = readUseV1(new Map(names.map((name) => [name, join(folder, name)])));
    assert.deepEqual([cpu?.usageNs, cpu?.userNs, cpu?.throttledNs], [3_000_000n, 20_000_000n, 9_000n]);
    assert.deepEqual([memory?.workingSetBytes, memory?.rssBytes, memory?.limitBytes], [140n, 100n, 0n]);
    assert.deepEqual([memory?.maxUsageBytes, memory?.limitHits, memory?.oomKills], [200n, 3n, 1n]);
    assert.deepEqual(io?.devices, [{ major: 8, minor: 0, readBytes: 10n, writeBytes: 20n, reads: 1n, writes: 2n }]);
    assert.deepEqual(pids, { processes: 1n, threads: 5n, maxThreads: 0n });
    assert.deepEqual(hugetlb, []);
    const none = readUseV1(new Map());
    assert.deepEqual([none.cpu, none.memory, none.io, none.pids], [undefined, undefined, undefined, undefined]);
  });
});

test('a cgroup that is gone used nothing', () => {
  const { cpu, memory, io, pids, hugetlb } = readUseV2('/nonexistent/cgroup');
  assert.deepEqual([cpu, memory, io, pids, hugetlb], [undefined, undefined, undefined, undefined, []]);
});
