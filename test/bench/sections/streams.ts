/**
 * exec and port-forward with one client of our own against both runtimes' streaming servers: a VM pod and a native one of
 * husk, the same pods of the peer.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { sleep } from '../../../src/base/deadline.ts';
import { HuskError } from '../../../src/base/errors.ts';
import { ExecRequest } from '../../../src/gen/cri/v1/api.ts';
import { connectSpdy, joinCommand } from '../../helpers/streams.ts';
import { type Bench, inTurns, type Pod, pull, removePod, startPod, timed } from '../bench.ts';
import { piecePath, streamImage } from '../images.ts';
import { memoryOf } from '../processes.ts';
import type { Subject } from '../subjects/subject.ts';

const megabyte = 1_000_000;
/** A file of this size is sent again and again. */
const pieceBytes = 2 * megabyte;
const chunkBytes = 64 * 1024;
const echoPort = '90';

interface Target {
  readonly subject: Subject;
  readonly pod: Pod;
  /** Before the metric's name: which kind of pod it is. */
  readonly kind: 'vm' | 'native';
}

export async function measureStreams(bench: Bench, kinds: readonly Target['kind'][] = ['native', 'vm']): Promise<void> {
  const image = await streamImage(bench.registry, pieceBytes);
  for (const subject of inTurns(bench, 0)) await pull(subject, image.name);
  for (const kind of kinds) {
    const targets: Target[] = [];
    try {
      for (const subject of inTurns(bench, 0)) {
        const pod = await startPod(subject, { image: image.name, privileged: kind === 'native' }, bench.signal);
        targets.push({ subject, pod, kind });
        const cmd = ['/bin/sh', '-c', 'echo-server >/dev/null 2>&1 </dev/null &'];
        await subject.cri.execSync({ containerId: pod.containerId, cmd, timeout: 60n });
      }
      await measureKind(bench, targets, image.piece);
    } finally {
      for (const { subject, pod } of targets) await removePod(subject, pod);
    }
  }
}

async function measureKind(bench: Bench, targets: readonly Target[], piece: Buffer): Promise<void> {
  const { plan, recorder, watch, signal } = bench;
  const expected = shaOfCopies(piece, plan.streams.megabytes * megabyte);
  for (let round = 0; round < plan.streams.rounds; round += 1) {
    for (const target of round % 2 === 0 ? targets : targets.toReversed()) {
      signal.throwIfAborted();
      const { subject, kind } = target;
      const before = residentBytes(subject);
      for (let each = 0; each < plan.streams.execs; each += 1)
        recorder.add(`${kind}-first-byte`, subject.name, await firstByte(target));
      recorder.add(`${kind}-stdout`, subject.name, await output(target, plan.streams.megabytes, expected));
      recorder.add(`${kind}-forward`, subject.name, await echo(target, plan.streams.megabytes, piece));
      const most = await slowReaders(target, plan.streams);
      recorder.add(`${kind}-stream-memory`, subject.name, Math.max(0, most - before) / megabyte);
      watch.look('streams');
    }
  }
}

function shaOfCopies(piece: Buffer, bytes: number): string {
  const hash = createHash('sha256');
  for (let left = bytes; left > 0; left -= piece.length) hash.update(piece.subarray(0, Math.min(left, piece.length)));
  return hash.digest('hex');
}

function residentBytes(subject: Subject): number {
  return memoryOf([subject.streamingServer()]).rssBytes;
}

async function execUrl({ subject, pod }: Target, cmd: string[]): Promise<string> {
  const wish = { containerId: pod.containerId, cmd, stdout: true };
  return (await subject.cri.exec(ExecRequest.fromPartial(wish))).url;
}

/** From the Exec call to the first byte of output. */
async function firstByte(target: Target): Promise<number> {
  const start = performance.now();
  const command = await joinCommand(await execUrl(target, ['/bin/echo', 'x']), { stdout: true });
  await command.stdout?.begun;
  const ms = performance.now() - start;
  await command.status();
  if (command.stdout?.text() !== 'x\n') throw wrong(target, 'the output of echo');
  return ms;
}

/** Megabytes a second, digest compared. */
async function output(target: Target, megabytes: number, expected: string): Promise<number> {
  const cmd = ['/bin/cat', ...Array.from({ length: (megabytes * megabyte) / pieceBytes }, () => piecePath)];
  const { ms, result } = await timed(async () => {
    const command = await joinCommand(await execUrl(target, cmd), { stdout: true });
    await command.status();
    return command.stdout;
  });
  if (result?.sha() !== expected) throw wrong(target, `the output of ${megabytes} MB: ${result?.bytes} bytes`);
  return (1000 * megabytes) / ms;
}

/** Megabytes a second through an echo server: so many in each direction at once. */
async function echo(target: Target, megabytes: number, piece: Buffer): Promise<number> {
  const { url } = await target.subject.cri.portForward({ podSandboxId: target.pod.id, port: [] });
  const client = await connectSpdy(url, 'portforward.k8s.io');
  const headers = (streamtype: string) => ({ streamtype, port: echoPort, requestid: '0' });
  await client.open(headers('error'), true);
  const data = await client.open(headers('data'));
  const { ms } = await timed(async () => {
    let left = megabytes * megabyte;
    while (left > 0) {
      for (let at = 0; at < piece.length && left > 0; at += chunkBytes) {
        const bytes = piece.subarray(at, Math.min(at + chunkBytes, piece.length, at + left));
        left -= bytes.length;
        await data.write(bytes);
      }
    }
    data.end();
    await data.ended;
  });
  client.socket.destroy();
  if (data.sha() !== shaOfCopies(piece, megabytes * megabyte)) throw wrong(target, `${megabytes} MB through a port`);
  return (1000 * megabytes) / ms;
}

/** Clients that ask for everything and read nothing. How many bytes the server had at the end of it. */
async function slowReaders(target: Target, { slow, slowMs }: Bench['plan']['streams']): Promise<number> {
  const clients = [];
  for (let each = 0; each < slow; each += 1) {
    const command = await joinCommand(await execUrl(target, ['/bin/cat', '/dev/zero']), { stdout: true });
    command.client.hold();
    clients.push(command.client);
  }
  await sleep(slowMs);
  const most = residentBytes(target.subject);
  // Their commands go on without them: they end with a signal of their own.
  const { containerId } = target.pod;
  await target.subject.cri.execSync({ containerId, cmd: ['/bin/sh', '-c', 'killall cat'], timeout: 60n });
  for (const { socket } of clients) {
    socket.destroy();
    if (!socket.closed) await once(socket, 'close');
  }
  return most;
}

function wrong({ subject, kind }: Target, what: string): HuskError {
  return new HuskError('data-loss', `${subject.name}, ${kind} pod: ${what} is not what was sent`);
}
