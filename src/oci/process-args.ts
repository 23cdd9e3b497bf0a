/** Command, environment and working directory of a container, from the pod's wish and the image's default. */
import { HuskError } from '../base/errors.ts';

interface CommandSources {
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly imageEntrypoint: readonly string[];
  readonly imageCmd: readonly string[];
}

/**
 * Kubernetes' rule: `command` replaces the image's entrypoint, and then its cmd does not count;
 * `args` replaces the image's cmd.
 *
 * @throws HuskError `invalid-argument` when neither the pod nor the image names a command
 */
export function processArgs(sources: CommandSources): string[] {
  const { command, args, imageEntrypoint, imageCmd } = sources;
  const line =
    command.length > 0 ? [...command, ...args] : [...imageEntrypoint, ...(args.length > 0 ? args : imageCmd)];
  if (line.length === 0) {
    throw new HuskError('invalid-argument', 'config.command: neither the container nor its image names a command', {
      hint: 'set command in the container, or use an image with an entrypoint',
    });
  }
  return line;
}

const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * The image's environment with the pod's on top, each name once, in the order of first mention.
 *
 * @param image `NAME=value` lines of the image config
 * @param pod `NAME=value` lines of the pod
 */
export function processEnv(image: readonly string[], pod: readonly string[], extra: readonly string[] = []): string[] {
  const merged = new Map<string, string>();
  for (const line of [defaultPath, ...extra, ...image, ...pod]) {
    const name = line.split('=', 1)[0] ?? line;
    merged.set(name, line);
  }
  return [...merged.values()];
}
