/** The remote run against a real SSH server on loopback, with a small tree in place of this one. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHmac, generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { after, before, test } from 'node:test';
import ssh2, { type Server } from 'ssh2';
import { judgeHostKey } from './known-hosts.ts';
import { benchLine, runRemote } from './run-remote.ts';
import { parseHost, Ssh, type SshOptions } from './ssh.ts';

const pem = (): string =>
  generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs1', format: 'pem' }).toString();
const [hostKey, userKey] = [pem(), pem()];
const publicOf = (key: string): Buffer => {
  const parsed = ssh2.utils.parseKey(key);
  if (parsed instanceof Error) throw parsed;
  return parsed.getPublicSSH();
};

let server: Server;
let options: SshOptions;
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'husk-ssh-test-'));
  server = new ssh2.Server({ hostKeys: [hostKey] }, (client) => {
    client.on('error', () => undefined);
    client.on('authentication', (context) => {
      if (context.method === 'publickey' && context.key.data.equals(publicOf(userKey))) context.accept();
      else context.reject(['publickey']);
    });
    client.on('session', (accept) => {
      accept().on('exec', (take, _reject, { command }) => {
        const channel = take();
        const child = spawn('sh', ['-c', command], { stdio: ['pipe', 'pipe', 'pipe'] });
        channel.pipe(child.stdin);
        child.stdin.on('error', () => undefined);
        child.stdout.pipe(channel, { end: false });
        child.stderr.pipe(channel.stderr, { end: false });
        child.on('close', (code) => {
          channel.exit(code ?? 255);
          channel.end();
        });
      });
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  options = {
    host: { user: 'bench', name: '127.0.0.1', port },
    knownHosts: `[127.0.0.1]:${port} ssh-rsa ${publicOf(hostKey).toString('base64')}\n`,
    keys: [pem(), userKey],
  };
});
after(async () => {
  server.close();
  await rm(folder, { recursive: true, force: true });
});

/** A work tree whose `make bench` does what the recipe says. */
async function tree(name: string, recipe: string): Promise<string> {
  const path = join(folder, name);
  await mkdir(path);
  await writeFile(join(path, 'Makefile'), `bench:\n\t${recipe}\n`);
  await writeFile(join(path, '.gitignore'), 'build\n');
  execFileSync('git', ['init', '-q', path]);
  return path;
}

const copies = (): string[] => readdirSync('/tmp').filter((name) => name.startsWith('husk-bench-remote.'));

test('the tree goes there, the run’s words and results come back, and the copy goes away', async () => {
  const before = copies();
  const recipe = '@echo measuring $(QUICK) $(ONLY) && mkdir -p $(OUT) && echo "{}" > $(OUT)/results.json && exit 3';
  const repository = await tree('whole', recipe);
  using ssh = await Ssh.connect(options);
  const errors = new PassThrough();
  const [out, signal] = [join(folder, 'out'), new AbortController().signal];
  const variables = { QUICK: '1', ONLY: 'pods,burst' };
  await runRemote({ ssh, repository, variables, out, errors, signal });
  errors.end();
  const said = Buffer.concat((await errors.toArray()) as Buffer[]).toString();
  assert.match(said, /measuring 1 pods,burst/);
  assert.equal(await readFile(join(out, 'results.json'), 'utf8'), '{}\n', 'also of a run that is not valid');
  assert.deepEqual(copies(), before);
});

test('a run that is interrupted here is interrupted there', async () => {
  const mark = join(folder, 'interrupted');
  const repository = await tree(
    'slow',
    `@trap 'sleep 1; touch ${mark}; exit 130' TERM; echo started; for i in $$(seq 300); do sleep 0.1; done`,
  );
  using ssh = await Ssh.connect(options);
  const errors = new PassThrough();
  const stop = new AbortController();
  errors.on('data', (chunk) => {
    if (String(chunk).includes('started')) stop.abort();
  });
  const out = join(folder, 'none');
  const run = runRemote({ ssh, repository, variables: {}, out, errors, signal: stop.signal });
  await assert.rejects(run, /ended with code [1-9]\d* and without results/);
  assert.ok(existsSync(mark), 'the run over there was not told');
});

test('a host whose key is not known is not talked to', async () => {
  await assert.rejects(Ssh.connect({ ...options, knownHosts: '' }), /its host key is not known/);
  const { port } = options.host;
  const other = `[127.0.0.1]:${port} ssh-rsa ${publicOf(userKey).toString('base64')}\n`;
  await assert.rejects(Ssh.connect({ ...options, knownHosts: other }), /not the one that is known/);
  await assert.rejects(Ssh.connect({ ...options, keys: [] }), /no SSH agent and no private key/);
});

test('host names are found plain, with a port, and hashed', async () => {
  const key = publicOf(hostKey);
  const base64 = key.toString('base64');
  const salt = Buffer.from('0123456789abcdefghij');
  const hash = createHmac('sha1', salt).update('node').digest('base64');
  const host = { name: 'node', port: 22 };
  for (const line of [
    `node ssh-rsa ${base64}`,
    `a,node ssh-rsa ${base64} comment`,
    `|1|${salt.toString('base64')}|${hash} ssh-rsa ${base64}`,
  ]) {
    assert.equal(judgeHostKey(`# comment\n\n${line}\n`, host, key), 'known', line);
  }
  assert.equal(judgeHostKey(`node ssh-ed25519 ${base64}`, host, key), 'unknown');
  assert.equal(judgeHostKey(`other ssh-rsa ${base64}`, host, key), 'unknown');
  assert.equal(judgeHostKey(`@revoked node ssh-rsa ${base64}`, host, key), 'different');
});

test('hosts and variables that could be more than they seem are refused', async () => {
  assert.deepEqual(parseHost('me@node:2222'), { user: 'me', name: 'node', port: 2222 });
  assert.deepEqual(parseHost('me@[fe80::1]').name, 'fe80::1');
  for (const text of ['', 'a b', '-oProxyCommand=x y', 'me@node:x'])
    assert.throws(() => parseHost(text), /must be/, text);
  assert.throws(() => benchLine('/tmp/x', { ONLY: 'pods;reboot' }), /must have no blanks/);
  assert.match(benchLine('/tmp/x', { QUICK: '1' }), /make bench QUICK=1 OUT=build\/bench\/remote/);
});
