/** The command line of `husk run`. */
import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { Command } from 'commander';
import { pino } from 'pino';
import { describeError, HuskError } from '../../base/errors.ts';
import { type Config, resolveConfig, settings } from '../config.ts';
import { readConfigFile } from '../config-file.ts';
import { directRun } from './direct-run.ts';
import type { RunOptions } from './wish.ts';

/** The settings of huskd that mean the same here. */
const shared = [
  'rootDirectory',
  'stateDirectory',
  'guestImage',
  'binDirectory',
  'cniNetDir',
  'cniPluginDir',
  'registryConfigDir',
  'cgroupDriver',
  'accel',
  'allowEmulation',
  'template',
  'runtimes',
  'config',
  'logLevel',
] as const;

const list = (value: string, before: readonly string[]): readonly string[] => [...before, value];

interface Options extends RunOptions {
  readonly pull?: boolean;
}

/** @param exit told the exit code */
export function runCommand(exit: (code: number) => void): Command {
  const command = new Command('run')
    .description('runs a container in a pod of its own, without a daemon, in the foreground; nothing is left of it')
    .argument('<IMAGE>', 'image, pulled when it is not there')
    .argument('[COMMAND...]', 'what to run in place of the image’s command')
    .passThroughOptions()
    .option('--native', 'run it on this machine itself, by runC, in place of a virtual machine')
    .option('-i, --interactive', 'give it standard input')
    .option('-t, --tty', 'give it a terminal; with standard input')
    .option('--rm', 'what is done in any case')
    .option('--cpu <N>', 'CPUs it may use, such as 0.5')
    .option('--memory <SIZE>', 'memory it may use, such as 512m')
    .option('-v, --volume <HOST:PATH[:ro]>', 'a folder or file of this machine; repeatable', list, [])
    .option('-p, --publish <[IP:]HOST:PORT[/udp]>', 'a port of this machine for one of the pod; repeatable', list, [])
    .option('-e, --env <NAME[=VALUE]>', 'a variable; repeatable', list, [])
    .option('-u, --user <USER[:GID]>', 'who it runs as')
    .option('-w, --workdir <PATH>', 'where it runs')
    .option('--network <cni|none|host>', 'by the CNI configuration, none, or with --native this machine’s', 'cni')
    .option('--hostname <NAME>', 'host name of the pod')
    .option('--entrypoint <PATH>', 'in place of the image’s entrypoint')
    .option('--read-only', 'its root file system')
    .option('--privileged', 'all rights: on this machine with --native, else in its virtual machine')
    .option('--pull', 'ask the registry also when the image is there');
  for (const key of shared) {
    const { flag, value, help } = settings[key];
    command.option(`--${flag} <${value}>`, `${help} (as of huskd)`);
  }
  return command.action(async (image: string, words: string[], options: Options & Record<string, unknown>) => {
    exit(await exitCodeOf(image, words, options));
  });
}

/** Errors of husk itself are told apart from the container's exit codes as docker does it. */
const ownErrors = { husk: 125, cannotExecute: 126, notFound: 127 } as const;

async function exitCodeOf(
  image: string,
  words: readonly string[],
  options: Options & Readonly<Record<string, unknown>>,
): Promise<number> {
  try {
    const config = await configOf(options);
    const tell = (text: string): void => void writeSync(2, `husk: ${text}\n`);
    const say = (text: string): void => void (isatty(2) && tell(text));
    const level = typeof options['logLevel'] === 'string' ? config.logLevel : 'error';
    const log = pino({ level }, pino.destination({ dest: 2, sync: true }));
    const tty = options.tty === true;
    const wish = { ...options, interactive: options.interactive === true || tty };
    const { env: environment } = process;
    const { pull = false } = options;
    const command = { image, command: words, options: wish, environment };
    return await directRun({ config, command, pull, log, say, tell });
  } catch (caught) {
    const text = describeError(caught);
    writeSync(2, `husk: ${text}\n`);
    if (/exec: .*(executable file not found|no such file or directory)/.test(text)) return ownErrors.notFound;
    return /exec: .*permission denied/.test(text) ? ownErrors.cannotExecute : ownErrors.husk;
  }
}

async function configOf(options: Readonly<Record<string, unknown>>): Promise<Config> {
  if (process.getuid?.() !== 0) {
    throw new HuskError('permission-denied', `husk run: uid ${process.getuid?.()}, wanted root`, {
      stage: 'arguments',
    });
  }
  const given: Partial<Record<keyof typeof settings, string>> = {};
  for (const key of shared) {
    // commander names an option after its flag: --guest-image is guestImage, as the setting.
    const value = options[key];
    if (typeof value === 'string') given[key] = value;
  }
  return resolveConfig(given, await readConfigFile(given.config));
}
