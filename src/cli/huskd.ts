/** huskd: the daemon. */
import { pino } from 'pino';
import { describeError } from '../base/errors.ts';
import { parseFailpoints } from '../base/failpoints.ts';
import { logDestination } from '../base/log-destination.ts';
import { composeDaemon } from './compose.ts';
import { resolveConfig } from './config.ts';
import { readConfigFile } from './config-file.ts';
import { parseFlags } from './flags.ts';
import { socketPathOf } from './listen.ts';
import { version } from './version.ts';

/** A second signal, or a clean-up that takes longer, ends the daemon at once; pods go on in any case. */
const shutdownMs = 20_000;

// Its helpers are users of their own: what is closed to them is closed by its mode, not by the mask that root's shell had.
process.umask(0o022);
try {
  await main();
} catch (caught) {
  process.stderr.write(`huskd: ${describeError(caught)}\n`);
  process.exit(1);
}

async function main(): Promise<void> {
  const flags = parseFlags(process.argv.slice(2), version);
  const file = await readConfigFile(flags.config);
  const config = resolveConfig(flags, file);
  const socketPath = socketPathOf(config.listen);
  const log = pino({ level: config.logLevel }, logDestination(2));
  log.info({ version, pid: process.pid }, 'huskd starts');
  const daemon = await composeDaemon(config, log, parseFailpoints(process.env['HUSK_FAILPOINTS']));
  await daemon.cri.listen(socketPath);
  const signal = await firstSignal();
  log.info({ signal }, 'huskd ends; pods go on');
  setTimeout(() => process.exit(1), shutdownMs).unref();
  await daemon.close();
  process.exit(0);
}

function firstSignal(): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    process.on(name, (signal) => resolve(signal));
  }
  return promise;
}
