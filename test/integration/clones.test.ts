/**
 * Many pods of one template: no two share a secret or an identity while all of them run, and the
 * template is what it was. Then pods come and go, and nothing grows.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Daemon } from '../helpers/daemon.ts';
import { type DaemonWithImage, startDaemonWithImage } from '../helpers/daemon-with-image.ts';
import { assertHoldings, holdingsOf } from '../helpers/holdings.ts';
import { inBatches, logContent, removePod, runPod, shell, startContainer } from '../helpers/pods.ts';

const image = 'docker.io/library/busybox:latest';
/** `HUSK_SOAK=20x5`: 20 clones at once, then five rounds of 20 pods. */
const [pods, rounds] = (process.env['HUSK_SOAK'] ?? '6x2').split('x').map(Number) as [number, number];
const atATime = 2;
let daemon: Daemon;
let close: DaemonWithImage['close'] | undefined;
let clean: string[];

before(async () => {
  ({ daemon, close } = await startDaemonWithImage());
  const first = await runPod(daemon);
  await removePod(daemon, first.id);
  clean = await holdingsOf(daemon);
});
after(async () => {
  await close?.();
});

/** What a container sees of who it is. */
const askIdentity = [
  'echo random=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d " \\n")',
  'echo boot=$(cat /proc/sys/kernel/random/boot_id)',
  'echo mac=$(cat /sys/class/net/eth0/address)',
  'echo host=$(hostname)',
  'echo ip=$(ip -4 -o addr show eth0 | tr -s " " | cut -d" " -f4)',
  'echo ip6=$(ip -6 -o addr show eth0 scope global | tr -s " " | cut -d" " -f4)',
  'sleep 600',
].join('; ');
const fields = ['random', 'boot', 'mac', 'host', 'ip', 'ip6'];

async function identityOf(logPath: string): Promise<Map<string, string>> {
  for (let tries = 0; tries < 600; tries += 1) {
    const lines = logContent(await readFile(logPath, 'utf8').catch(() => ''))
      .trim()
      .split('\n');
    if (lines.length === fields.length) return new Map(lines.map((line) => line.split('=') as [string, string]));
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`"${logPath}": no identity within a minute`);
}

/** SHA-256 of the template's memory and device state, as the holder has them, and as they were when they were sealed. */
async function templateDigests(): Promise<{ held: string[]; sealed: string[] }> {
  const templates = join(daemon.folder, 'lib/vm/templates');
  const [key = ''] = await readdir(templates);
  const read = async (name: string): Promise<unknown> => JSON.parse(await readFile(join(templates, key, name), 'utf8'));
  const { pid } = (await read('holder.json')) as { pid: number };
  const { memory, state } = (await read('record.json')) as Record<'memory' | 'state', { sha256: string }>;
  const digest = async (fd: number): Promise<string> => {
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(`/proc/${pid}/fd/${fd}`)) hash.update(chunk as Buffer);
    return hash.digest('hex');
  };
  return { held: [await digest(3), await digest(4)], sealed: [memory.sha256, state.sha256] };
}

test(`${pods} clones that run at once share no secret and no identity, and leave the template as it was`, async () => {
  const running = await inBatches(pods, atATime, async (index) => {
    const pod = await runPod(daemon, { hostname: `clone-${index}` });
    const config = shell(image, askIdentity);
    await startContainer(daemon, pod, config);
    return { id: pod.id, identity: await identityOf(join(pod.config.logDirectory, config.logPath)) };
  });
  for (const field of fields) {
    const values = running.map(({ identity }) => identity.get(field) ?? '');
    assert.ok(!values.includes(''), `${field}: ${values.join()}`);
    assert.equal(new Set(values).size, pods, `${field}: ${values.join()}`);
  }
  const { held, sealed } = await templateDigests();
  assert.deepEqual(held, sealed);
  await inBatches(pods, atATime, (index) => removePod(daemon, running[index]?.id ?? ''));
  await assertHoldings(daemon, clean);
});

/** Private memory in MiB, and the number of open descriptors. */
async function useOf(pid: number): Promise<{ mib: number; fds: number }> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const kib = Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1]);
  return { mib: kib / 1024, fds: (await readdir(`/proc/${pid}/fd`)).length };
}

async function gatewayPid(): Promise<number> {
  return (JSON.parse(await readFile(join(daemon.folder, 'run/gateway/pid.json'), 'utf8')) as { pid: number }).pid;
}

test(`${rounds} rounds of ${pods} pods leave nothing, and neither huskd nor the gateway grows`, async (context) => {
  const seen: Record<'huskd' | 'gateway', { mib: number; fds: number }>[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const running = await inBatches(pods, atATime, async () => {
      const pod = await runPod(daemon);
      await startContainer(daemon, pod, shell(image, 'sleep 600'));
      return pod.id;
    });
    await inBatches(pods, atATime, (index) => removePod(daemon, running[index] ?? ''));
    await assertHoldings(daemon, clean);
    const use = { huskd: await useOf(daemon.pid), gateway: await useOf(await gatewayPid()) };
    const text = Object.entries(use).map(([name, { mib, fds }]) => `${name} ${mib.toFixed(1)} MiB, ${fds} descriptors`);
    context.diagnostic(`round ${round + 1}: ${text.join('; ')}`);
    seen.push(use);
  }
  for (const name of ['huskd', 'gateway'] as const) {
    const [first, last] = [seen[0]?.[name], seen.at(-1)?.[name]];
    assert.ok(first !== undefined && last !== undefined);
    assert.equal(last.fds, first.fds, `${name} keeps descriptors`);
    // What a round leaves for the collector differs by some MiB; what is kept for each pod would add up.
    const most = first.mib * 1.25 + 8;
    assert.ok(
      last.mib <= most,
      `${name}: ${first.mib.toFixed(1)} MiB after a round, ${last.mib.toFixed(1)} after ${rounds}`,
    );
  }
});
