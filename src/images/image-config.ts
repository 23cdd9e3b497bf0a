/** The image config as far as husk uses it. Everything else in it stays unread (CVE-2026-53488). */
import { HuskError } from '../base/errors.ts';
import type { ImageRunConfig } from './image-store.ts';
import { asList, asObject, asText, type JsonObject, malformed } from './json.ts';

/** Room for a long command or path; the kernel's MAX_ARG_STRLEN is 128 KiB. */
const maxTextLength = 32_768;
const maxItems = 2048;
/** All strings together: a quarter of the usual ARG_MAX of 2 MiB, so that exec in the guest can work. */
const maxTotalLength = 512 * 1024;
const maxUserLength = 256;

/** An image without a config: what the fields mean when they are absent. */
export const emptyRunConfig: ImageRunConfig = {
  user: '',
  env: [],
  workingDir: '',
  entrypoint: [],
  cmd: [],
  stopSignal: '',
  volumes: [],
};

/**
 * Reads what a container starts from.
 *
 * @throws HuskError `invalid-argument` for values no honest tool writes; `failed-precondition` for
 *   another platform
 */
export function parseRunConfig(config: JsonObject): ImageRunConfig {
  checkPlatform(config);
  if (config['config'] === undefined || config['config'] === null) return emptyRunConfig;
  const run = asObject('config "config"', config['config']);
  const volumes = run['Volumes'];
  const parsed = {
    user: asText('config "User"', run['User'], maxUserLength),
    env: texts('Env', run['Env']),
    workingDir: asText('config "WorkingDir"', run['WorkingDir'], 4096),
    entrypoint: texts('Entrypoint', run['Entrypoint']),
    cmd: texts('Cmd', run['Cmd']),
    stopSignal: asText('config "StopSignal"', run['StopSignal'], 32),
    volumes: texts(
      'Volumes',
      volumes === undefined || volumes === null ? [] : Object.keys(asObject('config "Volumes"', volumes)),
    ),
  };
  for (const entry of parsed.env) {
    if (entry.indexOf('=') < 1) throw malformed('config "Env"', `entry "${entry.slice(0, 60)}" is not NAME=value`);
  }
  const total = [...parsed.env, ...parsed.entrypoint, ...parsed.cmd, ...parsed.volumes].join('').length;
  if (total > maxTotalLength) throw malformed('config', `found ${total} characters, wanted at most ${maxTotalLength}`);
  return parsed;
}

function texts(name: string, value: unknown): string[] {
  return asList(`config "${name}"`, value, maxItems).map((each) => {
    if (typeof each !== 'string') throw malformed(`config "${name}"`, 'wanted a list of strings');
    // Newlines, tabs and escapes are lawful in arguments and values; only NUL can never reach exec.
    if (each.includes('\0')) throw malformed(`config "${name}"`, 'found a NUL character');
    if (each.length > maxTextLength) throw malformed(`config "${name}"`, `found an entry of ${each.length} characters`);
    return each;
  });
}

function checkPlatform(config: JsonObject): void {
  const os = asText('config "os"', config['os'], 64);
  const architecture = asText('config "architecture"', config['architecture'], 64);
  if ((os === '' || os === 'linux') && (architecture === '' || architecture === 'amd64')) return;
  throw new HuskError('failed-precondition', `use image for ${os}/${architecture}: this node runs linux/amd64`, {
    stage: 'read-image',
  });
}
