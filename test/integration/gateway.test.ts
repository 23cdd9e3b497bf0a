/** The gateway as huskd starts it: what it may do, what it may use, and that it needs nothing else. */
import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { GatewayProcess } from '../../src/agent/gateway-process.ts';
import { silentLog } from '../../src/base/log.ts';
import { testPrograms } from '../helpers/programs.ts';

const uid = 1_000_000 + process.pid;
let folder = '';
let gateway: GatewayProcess;
let pid = 0;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'husk-gateway-'));
  await chmod(folder, 0o711);
  const programs = await testPrograms(join(folder, 'programs'));
  const user = { uid, gid: uid };
  const options = { folder: join(folder, 'gateway'), user, nodePath: programs.node, program: programs.gateway };
  gateway = new GatewayProcess({
    ...options,
    settings: JSON.stringify({ streaming: { address: '127.0.0.1', port: 0 } }),
    log: silentLog,
  });
  await gateway.ensure();
  pid = (await gateway.pid()) ?? 0;
});
after(async () => {
  await gateway?.stop();
  await rm(folder, { recursive: true, force: true });
});

const proc = (name: string): Promise<string> => readFile(`/proc/${pid}/${name}`, 'utf8');

test('it is nobody: an uid of its own, no groups, no capabilities, none to be had', async () => {
  const status = await proc('status');
  const field = (name: string): string => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(status)?.[1]?.trim() ?? '';
  assert.equal(field('Uid'), Array(4).fill(uid).join('\t'));
  assert.equal(field('Gid'), Array(4).fill(uid).join('\t'));
  assert.equal(field('Groups'), '');
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) assert.equal(Number(`0x${field(set)}`), 0, set);
  assert.equal(field('NoNewPrivs'), '1');
  assert.equal(await proc('environ'), '');
});

test('it cannot use up the machine', async () => {
  const limits = await proc('limits');
  const limit = (name: string): string[] => new RegExp(`^${name} +(\\S+) +(\\S+)`, 'm').exec(limits)?.slice(1) ?? [];
  assert.deepEqual(limit('Max core file size'), ['0', '0']);
  assert.deepEqual(limit('Max open files'), ['4096', '4096']);
  assert.deepEqual(limit('Max processes'), ['512', '512']);
  assert.deepEqual(limit('Max data size'), [String(3 * 2 ** 30), String(3 * 2 ** 30)]);
});

test('it holds no file of the host but its own log', async () => {
  const targets = await Promise.all(
    (await readdir(`/proc/${pid}/fd`)).map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')),
  );
  const files = new Set(targets.filter((target) => target.startsWith('/') && !target.startsWith('/dev/null')));
  assert.deepEqual([...files], [join(folder, 'gateway/gateway.log')]);
});
