import { withDeadline } from '../../base/deadline.ts';
import { HuskError } from '../../base/errors.ts';
import type { JsonObject } from '../../base/shape.ts';
import type { NetworkConfig, PluginConfig } from './config.ts';
import { execPlugin } from './exec-plugin.ts';
import { type Attachment, type CniCommand, pluginEnv, pluginInput } from './request.ts';
import { type CniResult, parseResult } from './result.ts';

/** What running a chain of plugins needs. */
export interface ChainRun {
  readonly network: NetworkConfig;
  /** Undefined for STATUS, which is about no pod. */
  readonly attachment: Attachment | undefined;
  /** Empty when the namespace is gone. */
  readonly netnsPath: string;
  readonly pluginFolders: readonly string[];
  /** Finds a plugin's program, or throws. */
  readonly program: (type: string) => Promise<string>;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * ADD of every plugin in order, each given the result of the one before. Undoes nothing.
 *
 * @throws HuskError of the plugin that failed
 */
export async function addChain(chain: ChainRun): Promise<CniResult> {
  return await withDeadline(
    `CNI ADD of network "${chain.network.name}"`,
    chain.timeoutMs,
    chain.signal,
    async (signal) => {
      let result: CniResult | undefined;
      for (const plugin of chain.network.plugins) {
        const printed = await call('ADD', { ...chain, signal }, plugin, result?.raw);
        result = readPrinted(plugin, printed);
      }
      if (result === undefined)
        throw new HuskError('internal', `CNI ADD of network "${chain.network.name}": no plugin ran`);
      return result;
    },
  );
}

/**
 * DEL of every plugin, last first, all of them even when some fail: an address must not stay
 * leased because a port mapping could not be removed.
 *
 * @param result the result of ADD, when it is known
 * @throws HuskError with the first failure's kind that names every failure
 */
export async function deleteChain(chain: ChainRun, result: JsonObject | undefined): Promise<void> {
  // Before 0.4.0 a plugin got no prevResult on DEL.
  const prevResult = chain.network.cniVersion.startsWith('0.3.') ? undefined : result;
  const failures: HuskError[] = [];
  for (const plugin of chain.network.plugins.toReversed()) {
    await call('DEL', chain, plugin, prevResult).catch((caught: unknown) =>
      failures.push(HuskError.from(caught, 'cni-del')),
    );
  }
  const [first] = failures;
  if (first === undefined) return;
  const messages = failures.map(({ message }) => message).join('; ');
  throw new HuskError(first.kind, messages, { stage: 'cni-del', cause: new AggregateError(failures) });
}

/** STATUS of every plugin, from 1.1.0 on; before, there was none. @throws HuskError of the plugin that is not ready */
export async function statusChain(chain: ChainRun): Promise<void> {
  if (chain.network.cniVersion !== '1.1.0') return;
  for (const plugin of chain.network.plugins) await call('STATUS', chain, plugin, undefined);
}

async function call(
  command: CniCommand,
  chain: ChainRun,
  plugin: PluginConfig,
  prevResult: JsonObject | undefined,
): Promise<string> {
  return await execPlugin({
    program: await chain.program(plugin.type),
    command,
    env: pluginEnv(command, chain.attachment, chain.netnsPath, chain.pluginFolders),
    input: pluginInput(chain.network, plugin, chain.attachment, prevResult),
    timeoutMs: chain.timeoutMs,
    signal: chain.signal,
  });
}

function readPrinted(plugin: PluginConfig, printed: string): CniResult {
  try {
    return parseResult(printed);
  } catch (caught) {
    throw new HuskError('internal', `CNI plugin "${plugin.type}" ADD: its result is not usable`, {
      cause: caught,
      stage: 'cni-add',
    });
  }
}
