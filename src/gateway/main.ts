/**
 * The gateway process: the only one that parses a guest's bytes.
 *
 *     node src/gateway/main.ts --socket PATH [--log-level LEVEL]
 *
 * huskd starts it as a user of its own, without capabilities, and it outlives huskd. It keeps no
 * state that matters: huskd attaches every VM anew to a fresh gateway. Its settings come on standard
 * input (settings.ts).
 */

import { unlink } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { systemClock } from '../base/clock.ts';
import { describeError, HuskError, isErrno } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { logDestination } from '../base/log-destination.ts';
import { startStreamingServer } from '../streaming/server.ts';
import { Blame } from './blame.ts';
import { Gateway } from './gateway.ts';
import { defaultLinkLimits } from './limits.ts';
import { serveGateway } from './server.ts';
import { readSettings } from './settings.ts';
import { guestStreamingRuntime } from './streams/runtime.ts';

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { socket: { type: 'string' }, 'log-level': { type: 'string', default: 'info' } },
  });
  const { socket } = values;
  if (socket === undefined) throw new HuskError('invalid-argument', 'gateway: --socket must be given');
  process.umask(0o177);
  const log: Log = pino(
    { level: values['log-level'], base: { process: 'gateway', pid: process.pid } },
    logDestination(2),
  );
  const blame = new Blame();
  containErrors(blame, log);
  const gateway = new Gateway({ clock: systemClock, log, limits: defaultLinkLimits, blame });
  await unlink(socket).catch((caught: unknown) => {
    if (!isErrno(caught, 'ENOENT')) throw caught;
  });
  const settings = await readSettings(process.stdin);
  const runtime = guestStreamingRuntime((id) => gateway.vm(id));
  const streaming = await startStreamingServer({ runtime, ...settings.streaming, clock: systemClock, log });
  const close = await serveGateway({ gateway, streaming, settings }, socket);
  log.info({ socket, streaming: streaming.address }, 'gateway is up');
  process.once('SIGTERM', () => {
    log.info({}, 'gateway ends');
    gateway.close();
    close();
    process.exit(0);
  });
}

/** An error that nobody caught ends the link of the VM whose bytes led to it; one of nobody's ends the process. */
function containErrors(blame: Blame, log: Log): void {
  process.on('uncaughtException', (caught) => {
    const vm = blame.current();
    log.error({ vm: vm?.id, error: describeError(caught), stack: caught.stack }, 'uncaught error');
    if (vm === undefined) process.exit(70);
    vm.fail(HuskError.from(caught, 'gateway'));
  });
}

main().catch((caught: unknown) => {
  process.stderr.write(`gateway: ${describeError(caught)}\n`);
  process.exit(1);
});
