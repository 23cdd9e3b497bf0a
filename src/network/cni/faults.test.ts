import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { sleep } from '../../base/deadline.ts';
import { isErrno } from '../../base/errors.ts';
import { newSandboxId } from '../../base/ids.ts';
import { silentLog } from '../../base/log.ts';
import { AttachmentStore } from './attachment-store.ts';
import { addChain, type ChainRun, deleteChain, statusChain } from './chain.ts';
import { parseNetworkConfig } from './config.ts';
import { execPlugin, type PluginCall } from './exec-plugin.ts';
import { ConfigLoader } from './load-config.ts';

let folder = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'husk-cni-'));
});
after(() => rmSync(folder, { recursive: true }));

/** Writes a plugin; returns its path. */
function plugin(name: string, script: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return path;
}

function call(program: string, change: Partial<PluginCall> = {}): PluginCall {
  return { program, command: 'ADD', env: { PATH: '/usr/bin:/bin' }, input: '{}', timeoutMs: 10_000, ...change };
}

/** Waits until no process has the id. */
async function gone(pid: number): Promise<void> {
  for (let tries = 0; tries < 500; tries += 1) {
    try {
      process.kill(pid, 0);
    } catch (caught) {
      if (isErrno(caught, 'ESRCH')) return;
    }
    // A killed process that nobody has reaped yet is gone too.
    const stat = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, 'latin1') : ') Z';
    if (/\) [ZX]/.test(stat)) return;
    await sleep(10);
  }
  assert.fail(`process ${pid} is still there`);
}

describe('a CNI plugin', () => {
  it('gets its input and its environment, and its output comes back', async () => {
    const echo = plugin('echo', 'cat; echo "$CNI_COMMAND"; env | grep -c .');
    const printed = await execPlugin(
      call(echo, { input: '{"a":1}', env: { PATH: '/usr/bin:/bin', CNI_COMMAND: 'ADD' } }),
    );
    // PATH, CNI_COMMAND, and what sh adds: PWD.
    assert.match(printed, /^\{"a":1\}ADD\n[234]\n$/);
  });

  const failures: [words: string, script: string, kind: string, message: RegExp][] = [
    [
      'reports an error of its own',
      `echo '{"code":7,"msg":"bad bridge","details":"no name"}'; exit 1`,
      'failed-precondition',
      /code 7: bad bridge: no name$/,
    ],
    ['asks to be tried later', `echo '{"code":11,"msg":"busy"}'; exit 1`, 'unavailable', /code 11: busy$/],
    ['is too old', `echo '{"code":1,"msg":"incompatible CNI versions"}'; exit 1`, 'failed-precondition', /code 1/],
    ['ends with garbage', `printf 'oh\\033[31m no\\n' ; exit 3`, 'internal', /exit code 3: oh \[31m no$/],
    ['ends with words on standard error', 'echo details >&2; exit 1', 'internal', /exit code 1: details$/],
    ['says nothing', 'exit 1', 'internal', /exit code 1, and it said nothing$/],
    ['is killed', 'kill -9 $$', 'internal', /signal SIGKILL/],
    ['prints without end', 'yes', 'resource-exhausted', /printed more than 1048576 bytes$/],
    ['writes errors without end, then fails', 'head -c 3000000 /dev/zero >&2; exit 2', 'internal', /exit code 2/],
    ['has an error whose code is no number', `echo '{"code":"x","msg":"m"}'; exit 1`, 'internal', /exit code 1/],
  ];
  for (const [words, script, kind, message] of failures) {
    it(`that ${words} is told as ${kind}`, async () => {
      const program = plugin(words.replaceAll(/\W/g, '-'), script);
      await assert.rejects(execPlugin(call(program)), { kind, message, stage: 'cni-add' });
    });
  }

  it('that is missing or no program is told as not found', async () => {
    await assert.rejects(execPlugin(call(join(folder, 'absent'))), { kind: 'not-found', message: /absent" ADD/ });
    writeFileSync(join(folder, 'data'), 'data', { mode: 0o644 });
    await assert.rejects(execPlugin(call(join(folder, 'data'))), { kind: 'not-found' });
  });

  it('that hangs is killed at its deadline with all that it started', async () => {
    const pids = join(folder, 'pids');
    const hang = plugin('hang', `trap '' TERM; sleep 1000 & echo "$! $$" > ${pids}; cat > /dev/null; wait`);
    await assert.rejects(execPlugin(call(hang, { timeoutMs: 400 })), {
      kind: 'deadline-exceeded',
      message: /within 400 ms/,
    });
    for (const pid of readFileSync(pids, 'utf8').trim().split(' ')) await gone(Number(pid));
  });

  it('is killed when its caller goes', async () => {
    const pids = join(folder, 'pids2');
    const hang = plugin('hang2', `echo $$ > ${pids}.tmp; mv ${pids}.tmp ${pids}; exec sleep 1000`);
    const caller = new AbortController();
    const running = execPlugin(call(hang, { signal: caller.signal }));
    while (!existsSync(pids)) await sleep(5);
    caller.abort();
    await assert.rejects(running, { kind: 'cancelled' });
    await gone(Number(readFileSync(pids, 'utf8')));
  });

  it('that leaves a child with its output open does not keep the caller, and the child goes', async () => {
    const pids = join(folder, 'pids3');
    const leaver = plugin('leaver', `sleep 1000 & echo $! > ${pids}; echo '{}'`);
    assert.equal(await execPlugin(call(leaver)), '{}\n');
    await gone(Number(readFileSync(pids, 'utf8')));
  });

  it('that does not read its input is judged by how it ends', async () => {
    assert.equal(await execPlugin(call(plugin('deaf', 'echo ok'), { input: 'x'.repeat(1_000_000) })), 'ok\n');
  });
});

/** A chain of plugins by their names in the folder. */
function chain(types: readonly string[], cniVersion = '1.0.0'): ChainRun {
  return {
    network: parseNetworkConfig(JSON.stringify({ cniVersion, name: 'net', plugins: types.map((type) => ({ type })) })),
    attachment: { sandboxId: newSandboxId(), args: '', runtimeConfig: {} },
    netnsPath: '/run/netns/none',
    pluginFolders: [folder],
    program: async (type) => join(folder, type),
    timeoutMs: 10_000,
  };
}

describe('a chain of CNI plugins', () => {
  const record = (name: string, tail: string): string =>
    plugin(name, `echo "$CNI_COMMAND ${name} $(cat)" >> ${join(folder, 'calls')}; ${tail}`);
  const calls = (): string[] => {
    const lines = readFileSync(join(folder, 'calls'), 'utf8').trim().split('\n');
    rmSync(join(folder, 'calls'));
    return lines;
  };
  before(() => {
    record('one', `echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}'`);
    record('two', `echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.3/24"}]}'`);
    record('fails', `echo '{"code":100,"msg":"no"}'; exit 1`);
    record('odd', `echo '{"ips":[{"address":"no"}]}'`);
  });

  it('hands each plugin the result before it, and returns the last', async () => {
    const result = await addChain(chain(['one', 'two']));
    assert.deepEqual(
      result.ips.map(({ address }) => address),
      ['10.0.0.3/24'],
    );
    const [first, second] = calls();
    assert.doesNotMatch(first ?? '', /prevResult/);
    assert.match(second ?? '', /"prevResult":\{"cniVersion":"1.0.0","ips":\[\{"address":"10.0.0.2\/24"\}\]\}/);
  });

  it('stops at the plugin that fails, or whose result is not usable', async () => {
    await assert.rejects(addChain(chain(['one', 'fails', 'two'])), {
      kind: 'internal',
      message: /fails" ADD: code 100/,
    });
    await assert.rejects(addChain(chain(['one', 'odd', 'two'])), {
      message: /CNI plugin "odd" ADD: its result is not usable/,
    });
    assert.deepEqual(
      calls().map((line) => line.split(' ', 2).join(' ')),
      ['ADD one', 'ADD fails', 'ADD one', 'ADD odd'],
    );
  });

  it('deletes last first, all of it even when some fail, and names each failure', async () => {
    const run = chain(['one', 'fails', 'absent', 'two']);
    await assert.rejects(deleteChain(run, { cniVersion: '1.0.0' }), {
      message: /absent" DEL.*; .*fails" DEL: code 100/,
      stage: 'cni-del',
    });
    const lines = calls();
    assert.deepEqual(
      lines.map((line) => line.split(' ', 2).join(' ')),
      ['DEL two', 'DEL fails', 'DEL one'],
    );
    assert.ok(lines.every((line) => line.includes('"prevResult"')));
  });

  it('gives no result to DEL before version 0.4.0', async () => {
    await deleteChain(chain(['one'], '0.3.1'), { cniVersion: '0.3.1' });
    await deleteChain(chain(['one'], '0.4.0'), { cniVersion: '0.4.0' });
    assert.deepEqual(
      calls().map((line) => line.includes('prevResult')),
      [false, true],
    );
  });

  it('asks for the status from version 1.1.0 on', async () => {
    await statusChain({ ...chain(['fails'], '1.0.0'), attachment: undefined });
    await assert.rejects(statusChain({ ...chain(['fails'], '1.1.0'), attachment: undefined }), {
      message: /STATUS: code 100/,
    });
    assert.deepEqual(calls().length, 1);
  });
});

describe('the CNI configuration in force', () => {
  const text = (name: string, type = 'bridge'): string =>
    JSON.stringify({ cniVersion: '1.0.0', name, plugins: [{ type }] });

  it('is the first valid file by name, and follows changes', async () => {
    const configFolder = join(folder, 'net.d');
    plugin('bridge', 'true');
    const loader = new ConfigLoader({ configFolder, pluginFolders: [join(folder, 'none'), folder] }, silentLog);
    await assert.rejects(loader.load(), { kind: 'failed-precondition', message: /net.d": found none$/ });
    mkdirSync(configFolder);
    writeFileSync(join(configFolder, '20-b.conflist'), text('b'));
    writeFileSync(join(configFolder, '05-note.txt'), text('note'));
    writeFileSync(join(configFolder, '10-broken.conf'), '{');
    assert.equal((await loader.load()).network.name, 'b');
    writeFileSync(join(configFolder, '15-a.json'), text('a'));
    assert.equal((await loader.load()).network.name, 'a');
    rmSync(join(configFolder, '15-a.json'));
    assert.equal((await loader.load()).network.name, 'b');
    writeFileSync(join(configFolder, '20-b.conflist'), text('b', 'missing'));
    await assert.rejects(loader.load(), {
      kind: 'failed-precondition',
      message: /CNI plugin "missing": it is not in ".*none", "/,
    });
    assert.equal((await loader.configured()).name, 'b');
  });
});

describe('what ADD was called with', () => {
  const stored = (sandboxId: string): Parameters<AttachmentStore['save']>[0] => ({
    network: parseNetworkConfig('{"cniVersion":"0.4.0","name":"n","type":"ptp","x":[1]}'),
    attachment: { sandboxId, args: 'a=b', runtimeConfig: { portMappings: [] } },
    result: { cniVersion: '0.4.0' },
  });

  it('is kept until it is removed', async () => {
    const [store, id] = [new AttachmentStore(join(folder, 'att')), newSandboxId()];
    assert.equal(await store.load(id), undefined);
    await store.save(stored(id));
    const { network, attachment, result } = (await store.load(id)) ?? {};
    assert.deepEqual(
      [network?.name, network?.plugins[0]?.raw['x'], attachment?.args, result],
      ['n', [1], 'a=b', { cniVersion: '0.4.0' }],
    );
    await store.remove(id);
    await store.remove(id);
    assert.deepEqual(readdirSync(join(folder, 'att')), []);
  });

  for (const damage of ['', '{', '{"version":2}', '{"version":1,"config":{},"attachment":{}}']) {
    it(`is refused as lost when the file reads ${JSON.stringify(damage)}`, async () => {
      const [store, id] = [new AttachmentStore(join(folder, 'att')), newSandboxId()];
      await store.save(stored(id));
      writeFileSync(join(folder, 'att', `${id}.json`), damage);
      await assert.rejects(store.load(id), { kind: 'data-loss' });
    });
  }

  it('is not looked up by anything but an id', async () => {
    await assert.rejects(new AttachmentStore(folder).load('../../etc/passwd'), { kind: 'invalid-argument' });
  });
});
