import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { run } from '../../src/base/exec.ts';
import { assertCensus, censusDiff, takeCensus } from '../helpers/census.ts';

const tool = async (file: string, ...args: string[]): Promise<string> => await run(file, args, { timeoutMs: 10_000 });

describe('the census', () => {
  let folder = '';
  const mark = `hc${process.pid}`.slice(0, 12);
  const options = (): Parameters<typeof takeCensus>[0] => ({
    processes: new RegExp(`sleep 1000\\.${process.pid}`),
    folders: [folder],
    leaseFolders: [join(folder, 'leases')],
    pids: [process.pid],
  });
  /** The differences that are of this test's making: other tests may run beside it. */
  const difference = async (make: () => Promise<() => Promise<void> | void>, own: string): Promise<string[]> => {
    const old = await takeCensus(options());
    const undo = await make();
    const diff = censusDiff(old, await takeCensus(options())).filter((line) => line.includes(own));
    await undo();
    assert.deepEqual(
      censusDiff(old, await takeCensus(options())).filter((line) => line.includes(own)),
      [],
    );
    return diff;
  };
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'husk-census-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  it('sees a mount', async () => {
    const point = join(folder, 'mnt');
    mkdirSync(point);
    const diff = await difference(async () => {
      await tool('mount', '-t', 'tmpfs', 'census', point);
      return async () => void (await tool('umount', point));
    }, point);
    assert.deepEqual(diff, [`+ mounts: ${point} (tmpfs census)`]);
    rmdirSync(point);
  });

  it('sees a network namespace, and a link with its bridge', async () => {
    const spaces = await difference(async () => {
      await tool('ip', 'netns', 'add', mark);
      return async () => void (await tool('ip', 'netns', 'del', mark));
    }, `network namespaces: ${mark}`);
    assert.deepEqual(spaces, [`+ network namespaces: ${mark}`]);
    const links = await difference(async () => {
      await tool('ip', 'link', 'add', `${mark}b`, 'type', 'bridge');
      await tool('ip', 'link', 'add', `${mark}v`, 'master', `${mark}b`, 'type', 'veth', 'peer', 'name', `${mark}w`);
      await tool('tc', 'qdisc', 'add', 'dev', `${mark}v`, 'ingress');
      return async () => {
        await tool('ip', 'link', 'del', `${mark}v`);
        await tool('ip', 'link', 'del', `${mark}b`);
      };
    }, mark);
    assert.deepEqual(links.slice(0, 3), [`+ links: ${mark}b`, `+ links: ${mark}v of ${mark}b`, `+ links: ${mark}w`]);
    assert.match(links[3] ?? '', /queueing disciplines: qdisc ingress/);
  });

  it('sees a process, and one that has ended unreaped goes in time', async () => {
    const own = `sleep 1000.${process.pid}`;
    const old = await takeCensus(options());
    const child = spawn('sleep', [`1000.${process.pid}`]);
    const gone = new Promise((resolve) => child.once('exit', resolve));
    const diff = censusDiff(old, await takeCensus(options())).filter((line) => line.includes('processes'));
    assert.deepEqual(diff, [`+ processes: ${child.pid} ${own}`]);
    child.kill('SIGKILL');
    await gone;
    assert.deepEqual((await takeCensus(options())).get('processes'), old.get('processes'));
  });

  it('sees a file, a lease and an open descriptor', async () => {
    mkdirSync(join(folder, 'leases'));
    const diff = await difference(async () => {
      const fd = openSync(join(folder, 'open'), 'w');
      writeFileSync(join(folder, 'leases/10.9.8.7'), '');
      writeFileSync(join(folder, 'leases/last_reserved_ip.0'), '');
      return () => {
        closeSync(fd);
        for (const name of ['open', 'leases/10.9.8.7', 'leases/last_reserved_ip.0']) rmSync(join(folder, name));
      };
    }, folder);
    assert.deepEqual(diff, [
      `+ leases: ${folder}/leases/10.9.8.7`,
      `+ files: ${folder}/leases/10.9.8.7`,
      `+ files: ${folder}/leases/last_reserved_ip.0`,
      `+ files: ${folder}/open`,
      `+ descriptors: of ${process.pid}: ${folder}/open`,
    ]);
  });

  it('sees a rule of the packet filter, a loop device and a cgroup', async () => {
    const rules = await difference(async () => {
      await tool('nft', `add table inet ${mark}; add chain inet ${mark} c; add rule inet ${mark} c counter drop`);
      return async () => void (await tool('nft', `delete table inet ${mark}`));
    }, mark);
    assert.ok(
      rules.some((line) => /chain c: counter\s+drop/.test(line)),
      rules.join('\n'),
    );
    const disk = join(folder, 'disk');
    writeFileSync(disk, Buffer.alloc(4096));
    let device = '';
    const loop = await difference(async () => {
      device = (await tool('losetup', '--find', '--show', disk)).trim();
      return async () => void (await tool('losetup', '--detach', device));
    }, disk);
    assert.deepEqual(
      loop.filter((line) => line.includes('loop devices')),
      [`+ loop devices: ${device.replace('/dev/', '')} ${disk}`],
    );
    const root = existsSync('/sys/fs/cgroup/cgroup.controllers') ? '/sys/fs/cgroup' : '/sys/fs/cgroup/pids';
    const group = `${root}/husk-census-${mark}`;
    const groups = await difference(async () => {
      mkdirSync(group);
      return () => rmdirSync(group);
    }, group);
    assert.deepEqual(groups, [`+ cgroups: ${group}`]);
  });

  it('waits for what is about to go, and names what stays', async () => {
    const scope = { folders: [join(folder, 'wait')], kinds: ['files'] };
    mkdirSync(join(folder, 'wait'));
    const old = await takeCensus(scope);
    writeFileSync(join(folder, 'wait/stays'), '');
    await assert.rejects(assertCensus(old, scope, 100), { message: new RegExp(`\\+ files: ${folder}/wait/stays`) });
    setTimeout(() => rmSync(join(folder, 'wait/stays')), 100);
    await assertCensus(old, scope);
  });
});
