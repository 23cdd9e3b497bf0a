/** Puts the native runtime together, where the node can have one. */
import { join } from 'node:path';
import { describeError, HuskError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { detectCgroupTrees } from '../cgroups/trees.ts';
import type { HandlerInfo } from '../cri/context.ts';
import type { ForegroundStreams } from '../native/foreground.ts';
import { type HostFacts, readHostFacts } from '../native/host-facts.ts';
import { type PreparedNative, prepareNative } from '../native/native-runtime.ts';
import { checkVersion } from '../native/versions.ts';
import { allowAllNative, type NativePolicy } from '../pod/native-policy.ts';
import { canMapIds } from '../volumes/mount-features.ts';
import type { Config } from './config.ts';
import { readNodePolicy } from './node-policy.ts';

type Parts = Pick<Parameters<typeof prepareNative>[0], 'network' | 'log' | 'clock' | 'failpoints' | 'streams'>;

export interface NativeParts {
  /** Absent where the node cannot or shall not run native pods; the policy says why. */
  readonly make: PreparedNative | undefined;
  readonly policy: NativePolicy;
  /** Of RuntimeClass: `native` and what else is configured and works. */
  readonly handlers: readonly HandlerInfo[];
}

/**
 * For a direct run: root asks for its own pod in the foreground, so no policy and no conmon is asked for.
 * The one handler is `native`.
 */
export async function composeForeground(
  config: Config,
  parts: Omit<Parts, 'streams'>,
  foreground: ForegroundStreams,
): Promise<NativeParts> {
  const path = config.runtimes['native'] ?? '';
  try {
    await checked(path, parts.log);
  } catch (caught) {
    return without(HuskError.from(caught).message);
  }
  const make = await prepare(
    config,
    { ...parts, streams: noGateway, foreground },
    { ociRuntimes: { native: path }, host: await readHostFacts() },
  );
  return { make, policy: allowAllNative, handlers: [] };
}

/**
 * Checks the programs, reads the policy, and prepares the runtime. A program that is missing or
 * too old takes native pods from this node, not the daemon.
 */
export async function composeNative(config: Config, parts: Parts): Promise<NativeParts> {
  if (!config.enablePrivilegedRuntime) return without('huskd was started with --enable-privileged-runtime false');
  const policy = await readNodePolicy(config.policyFile);
  try {
    await checked(config.conmon, parts.log);
    await checked(config.runtimes['native'] ?? '', parts.log);
  } catch (caught) {
    parts.log.error({ error: describeError(caught) }, 'this node runs no native pods');
    return without(HuskError.from(caught).message);
  }
  const ociRuntimes = await usableRuntimes(config, parts.log);
  const host = await readHostFacts();
  const make = await prepare(config, parts, { ociRuntimes, host });
  const mapsVolumes = await canMapIds(join(config.binDirectory, 'husk-share'), config.rootDirectory, parts.log);
  const userNamespaces = host.mapsLayers && mapsVolumes;
  const handlers = Object.keys(ociRuntimes).map((name) => ({ name, recursiveReadOnlyMounts: true, userNamespaces }));
  return { make, policy, handlers };
}

async function prepare(
  config: Config,
  parts: Parts & { readonly foreground?: ForegroundStreams },
  { ociRuntimes, host }: { readonly ociRuntimes: Readonly<Record<string, string>>; readonly host: HostFacts },
): Promise<PreparedNative> {
  return prepareNative({
    ...parts,
    cgroups: await detectCgroupTrees(config.cgroupDriver),
    host,
    stateFolder: config.stateDirectory,
    dataFolder: config.rootDirectory,
    programs: {
      ociRuntimes,
      conmon: config.conmon,
      podInit: join(config.binDirectory, 'husk-pod-init'),
      streamExec: join(config.binDirectory, 'husk-native-exec'),
      streamAttach: join(config.binDirectory, 'husk-native-attach'),
      streamPorts: join(config.binDirectory, 'husk-native-ports'),
      userns: join(config.binDirectory, 'husk-userns'),
      cgroupDriver: config.cgroupDriver,
    },
  });
}

/** A direct run has no gateway: its streams are joined already. */
const noGateway: Parts['streams'] = {
  url: () => Promise.reject(new HuskError('failed-precondition', 'stream of a direct run: it has no gateway')),
  gatewayGid: 0,
  uid: 0,
};

function without(refusal: string): NativeParts {
  return { make: undefined, policy: { refusal }, handlers: [] };
}

/** The runtimes beside the main one are left out when they cannot be used. */
async function usableRuntimes(config: Config, log: Log): Promise<Readonly<Record<string, string>>> {
  const usable: Record<string, string> = {};
  for (const [handler, path] of Object.entries(config.runtimes)) {
    try {
      if (handler !== 'native') await checked(path, log);
      usable[handler] = path;
    } catch (caught) {
      log.error({ handler, error: describeError(caught) }, 'runtime handler cannot be used');
    }
  }
  return usable;
}

async function checked(path: string, log: Log): Promise<void> {
  const { name, version, advice } = await checkVersion(path);
  log.info({ path, name, version }, 'program of native pods');
  if (advice !== '') log.warn({ path, version }, advice);
}
