/**
 * How fast bytes pass between a guest and a host process, with nothing of ours in between:
 *
 *     node test/raw/port-speed.ts [port|net] [total MiB] [-cpu]
 *
 * `port`: a virtio-serial port behind a UNIX socket. `net`: TCP over a virtio-net card and a tap in a
 * network namespace of its own (this script must run inside it: see `ip netns exec`).
 * Prints one line a direction and block size, with QEMU's CPU time beside the wall time.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildProbeGuest } from '../fixtures/probe-guest/build.ts';

const kind = process.argv[2] ?? 'port';
const total = Number(process.argv[3] ?? '256') * 2 ** 20;
const bootMs = 60_000;
const folder = await mkdtemp(join(tmpdir(), 'husk-raw-'));
await buildProbeGuest(resolve('build/guest-image/current'), folder, join(import.meta.dirname, 'port-speed.c'));
const manifest = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')) as { cmdline: string };
const socketPath = join(folder, 'raw.sock');
const transport =
  kind === 'net'
    ? ['-netdev', 'tap,id=net,ifname=raw0,script=no,downscript=no', '-device', 'virtio-net-pci,netdev=net,romfile=']
    : [
        ...[
          '-chardev',
          `socket,id=raw,path=${socketPath},server=on,wait=off`,
          '-device',
          'virtio-serial-pci,max_ports=4',
        ],
        ...['-device', 'virtserialport,nr=2,chardev=raw,name=husk.raw.0'],
      ];
const qemu = spawn(
  'qemu-system-x86_64',
  [
    ...[
      '-nodefaults',
      '-no-user-config',
      '-display',
      'none',
      '-no-reboot',
      '-machine',
      'q35',
      '-accel',
      'tcg,tb-size=32',
    ],
    ...[
      '-cpu',
      process.argv[4] ?? 'max',
      '-smp',
      '1',
      '-m',
      '256',
      '-kernel',
      join(folder, 'vmlinux'),
      '-initrd',
      join(folder, 'initrd.img'),
    ],
    ...['-append', `${manifest.cmdline}${kind === 'net' ? ' net=1' : ''}`],
    ...['-drive', `file=${join(folder, 'root.img')},format=raw,if=virtio,readonly=on`],
    ...['-chardev', `file,id=console,path=${join(folder, 'console')}`, '-serial', 'chardev:console', ...transport],
  ],
  { stdio: ['ignore', 'inherit', 'inherit'] },
);
try {
  const socket = kind === 'net' ? await overNet() : await overPort();
  for (const block of [4096, 32768, 65536, 262144]) await report('guest to host, write', 'OUT', block, receive);
  for (const block of [65536, 262144]) await report('guest to host, splice', 'SPLICE', block, receive);
  for (const block of [4096, 65536]) await report('host to guest, read', 'IN', block, send);

  async function report(
    name: string,
    word: string,
    block: number,
    move: (socket: Socket) => Promise<void>,
  ): Promise<void> {
    const cpu = await cpuTicks();
    const started = performance.now();
    socket.write(`${word} ${block} ${total}\n`);
    await move(socket);
    const seconds = (performance.now() - started) / 1000;
    const used = ((await cpuTicks()) - cpu) / 100;
    const rate = total / 1e6;
    process.stdout.write(
      `${kind} ${name} ${block}: ${(rate / seconds).toFixed(1)} MB/s, ${(rate / used).toFixed(1)} MB per second of QEMU's CPU\n`,
    );
  }
} finally {
  qemu.kill('SIGKILL');
  await once(qemu, 'exit');
  await rm(folder, { recursive: true, force: true });
}

async function receive(socket: Socket): Promise<void> {
  let left = total;
  const { promise, resolve: done } = Promise.withResolvers<void>();
  const onData = (chunk: Buffer): void => {
    left -= chunk.length;
    if (left <= 0) done();
  };
  socket.on('data', onData);
  await promise;
  socket.off('data', onData);
}

async function send(socket: Socket): Promise<void> {
  const chunk = Buffer.alloc(65536, 'x');
  const answered = once(socket, 'data');
  for (let left = total; left > 0; left -= chunk.length) if (!socket.write(chunk)) await once(socket, 'drain');
  await answered;
}

async function overPort(): Promise<Socket> {
  const give = Date.now() + bootMs;
  while (!(await readFile(join(folder, 'console'), 'utf8').catch(() => '')).includes('speed: ready')) {
    if (Date.now() > give) throw new Error('the guest did not get ready');
    await sleep(50);
  }
  const socket = connect(socketPath);
  await once(socket, 'connect');
  return socket;
}

async function overNet(): Promise<Socket> {
  const server = createServer();
  server.listen(4050, '192.0.2.1');
  const [socket] = (await once(server, 'connection')) as [Socket];
  server.close();
  return socket;
}

/** User and system time of QEMU, in hundredths of a second. */
async function cpuTicks(): Promise<number> {
  const fields = (await readFile(`/proc/${qemu.pid}/stat`, 'latin1')).replace(/^.*\) /, '').split(' ');
  return Number(fields[11]) + Number(fields[12]);
}
