/** exec, attach and port-forward over TLS: a daemon with a certificate, and clients that verify it. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { run } from '../../src/base/exec.ts';
import { ExecRequest, PullImageRequest } from '../../src/gen/cri/v1/api.ts';
import { echoServer } from '../fixtures/echo-server.ts';
import { busyboxImage } from '../fixtures/oci-image.ts';
import { pushImage, startRegistry, type TestRegistry } from '../fixtures/registry.ts';
import { type Daemon, startDaemon } from '../helpers/daemon.ts';
import { clientExec } from '../helpers/kubernetes-client.ts';
import { runPod, shell, startContainer } from '../helpers/pods.ts';
import { connectSpdy, findCrictl, joinCommand, runCrictl } from '../helpers/streams.ts';

const image = 'docker.io/library/busybox:latest';
/** The handler of each kind of pod. */
const kinds = { VM: '', native: 'native' } as const;
type Kind = keyof typeof kinds;

let folder: string;
let registry: TestRegistry;
let daemon: Daemon;
/** PEM of the certificate, and of another one by the same name. */
let [own, other] = ['', ''];
const pods = new Map<Kind, { readonly id: string; readonly container: string }>();

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'husk-tls-'));
  own = await certificate('own');
  other = await certificate('other');
  registry = await startRegistry();
  await pushImage(registry, 'library/busybox:latest', busyboxImage({ extra: [await echoServer()] }));
  daemon = await startDaemon({
    mirror: { to: registry.host, of: ['docker.io'] },
    flags: [
      `--streaming-server-tls-cert=${join(folder, 'own.crt')}`,
      `--streaming-server-tls-key=${join(folder, 'own.key')}`,
    ],
  });
  await daemon.cri.pullImage(PullImageRequest.fromPartial({ image: { image } }));
  for (const kind of Object.keys(kinds) as Kind[]) {
    const pod = await runPod(daemon, {}, kinds[kind]);
    pods.set(kind, { id: pod.id, container: await startContainer(daemon, pod, shell(image, 'exec echo-server')) });
  }
});
after(async () => {
  await daemon?.stop();
  await registry?.stop();
  await rm(folder, { recursive: true });
});

/** Writes a self-signed certificate for 127.0.0.1, and its key. */
async function certificate(name: string): Promise<string> {
  const [cert, key] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)];
  const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const names = ['-subj', '/CN=husk-test', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  await run('openssl', ['req', ...kind, ...names, '-keyout', key, '-out', cert], { timeoutMs: 30_000 });
  return await readFile(cert, 'utf8');
}

function podOf(kind: Kind): { readonly id: string; readonly container: string } {
  const pod = pods.get(kind);
  assert.ok(pod !== undefined, `the ${kind} pod`);
  return pod;
}

async function execUrl(kind: Kind, line: string): Promise<string> {
  const wish = { containerId: podOf(kind).container, cmd: ['sh', '-c', line], stdout: true };
  const { url } = await daemon.cri.exec(ExecRequest.fromPartial(wish));
  assert.match(url, /^https:\/\/127\.0\.0\.1:\d+\/exec\//);
  return url;
}

for (const kind of Object.keys(kinds) as Kind[]) {
  test(`${kind} pod: a command over SPDY and over WebSocket, a port`, async () => {
    const command = await joinCommand(await execUrl(kind, 'echo over spdy; exit 4'), { stdout: true }, own);
    assert.equal((await command.status()).exitCode, 4);
    assert.equal(command.stdout?.text(), 'over spdy\n');
    const { stdout, status } = await clientExec(await execUrl(kind, 'echo over websocket'), { ca: own });
    assert.deepEqual([stdout.toString(), status.status], ['over websocket\n', 'Success']);
    const { url } = await daemon.cri.portForward({ podSandboxId: podOf(kind).id, port: [] });
    const client = await connectSpdy(url, 'portforward.k8s.io', own);
    await client.open({ streamtype: 'error', port: '90', requestid: '0' }, true);
    const data = await client.open({ streamtype: 'data', port: '90', requestid: '0' });
    await data.write('through a port');
    data.end();
    assert.equal(await data.ended, 'fin');
    assert.equal(data.text(), 'through a port');
    client.socket.destroy();
  });

  for (const transport of ['spdy', 'websocket']) {
    test(`${kind} pod: crictl -r ${transport} verifies the certificate`, {
      skip: findCrictl() === undefined ? 'crictl is not built: make crictl' : false,
    }, async () => {
      const exec = (name: string) => {
        const file = (kindOf: string): string => join(folder, `${name}.${kindOf}`);
        // crictl wants a certificate of its own beside; the server asks for none.
        const trust = ['--tls-ca', file('crt'), '--tls-cert', file('crt'), '--tls-key', file('key')];
        return runCrictl(daemon.socket, ['exec', '-r', transport, ...trust, podOf(kind).container, 'echo', 'hello']);
      };
      const { stdout, code, stderr } = await exec('own');
      assert.deepEqual([stdout.toString(), code], ['hello\n', 0], stderr);
      const refused = await exec('other');
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /certificate/);
    });
  }
}

test('who trusts another certificate sends nothing, and plain HTTP gets no answer', async () => {
  await assert.rejects(connectSpdy(await execUrl('native', 'true'), undefined, other), /self.signed certificate/);
  const plain = (await execUrl('native', 'true')).replace('https:', 'http:');
  await assert.rejects(connectSpdy(plain), /socket hang up|ECONNRESET/);
});
