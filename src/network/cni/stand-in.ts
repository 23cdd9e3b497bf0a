import { rm } from 'node:fs/promises';
import { HuskError } from '../../base/errors.ts';
import { run } from '../../base/exec.ts';
import type { JsonObject } from '../../base/shape.ts';
import { isNamespace, type NamedNamespaces } from '../netns.ts';
import type { NetworkConfig } from './config.ts';
import { interfaceName } from './request.ts';
import { addressesOf, readResult } from './result.ts';

const timeoutMs = 10_000;

/** What was put on for DEL. */
export interface Dress {
  /** Takes the addresses, or the stand-in, away again. */
  readonly takeAway: () => Promise<void>;
  /** Whether the whole namespace is one. */
  readonly standIn: boolean;
}

/** Plugins that take away by the pod's id or by the result of ADD (plugins 1.1 to 1.7). */
const byId = new Set(['bandwidth', 'loopback', 'portmap', 'tuning']);
/** Plugins that look at the interface's addresses for the rules of masquerading, and for nothing else. */
const byAddressToMasquerade = new Set(['bridge', 'ptp']);

/** Whether DEL of one of the plugins may look at the addresses of the pod's interface. Unknown ones may. */
export function looksAtAddresses({ plugins }: Pick<NetworkConfig, 'plugins'>): boolean {
  return !plugins.every(
    ({ type, raw }) => byId.has(type) || (byAddressToMasquerade.has(type) && (raw['ipMasq'] ?? false) === false),
  );
}

/**
 * Makes the namespace look to DEL as ADD left it.
 *
 * The bridge and ptp plugins find the masquerading rules to take away by the addresses on the
 * interface (plugins 1.1.1: `DelLinkByNameAddr` and `TeardownIPMasq`). With the addresses moved to the
 * guest, or the namespace gone, they would leave a rule and a chain behind for every pod. So the
 * addresses come back for the time of DEL, on a stand-in when there is no interface.
 */
export async function dressForDelete(
  namespaces: NamedNamespaces,
  sandboxId: string,
  netnsPath: string,
  result: JsonObject,
): Promise<Dress> {
  const addresses = addressesOf(readResult(result), interfaceName);
  const there = await isNamespace(netnsPath);
  if (!there && netnsPath !== namespaces.path(sandboxId)) {
    throw new HuskError('not-found', `prepare "${netnsPath}" for CNI DEL: it is gone, and no namespace of ours`);
  }
  if (!there) {
    // What can be in the way is a file whose mount is gone.
    await rm(netnsPath, { force: true });
    await namespaces.create(sandboxId);
  }
  const takeAway = async (): Promise<void> => {
    if (there) await tryBatch(netnsPath, [`addr flush dev ${interfaceName}`]);
    else await namespaces.remove(sandboxId);
  };
  try {
    const stand = `link add ${interfaceName} type veth peer name peer0`;
    const restore = addresses.map((address) => `addr replace ${address} dev ${interfaceName} ${noDad(address)}`);
    if (!there || !(await tryBatch(netnsPath, restore))) await ipBatch(netnsPath, [stand, ...restore]);
    return { takeAway, standIn: !there };
  } catch (caught) {
    await takeAway();
    throw caught;
  }
}

/** False when the interface is gone: that, too, can be done by hand. */
async function tryBatch(netnsPath: string, lines: readonly string[]): Promise<boolean> {
  return await ipBatch(netnsPath, lines).then(
    () => true,
    () => false,
  );
}

async function ipBatch(netnsPath: string, lines: readonly string[]): Promise<void> {
  const input = `${lines.join('\n')}\n`;
  await run('nsenter', [`--net=${netnsPath}`, 'ip', '-batch', '-'], { timeoutMs, stage: 'cni-del', input });
}

/** IPv6 addresses are not to be searched for duplicates: nobody will use them. */
function noDad(address: string): string {
  return address.includes(':') ? 'nodad' : '';
}
