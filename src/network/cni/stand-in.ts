import { rm } from 'node:fs/promises';
import { HuskError } from '../../base/errors.ts';
import { run } from '../../base/exec.ts';
import type { JsonObject } from '../../base/shape.ts';
import { isNamespace, type NamedNamespaces } from '../netns.ts';
import { interfaceName } from './request.ts';
import { addressesOf, readResult } from './result.ts';

const timeoutMs = 10_000;

/**
 * Makes the namespace look to DEL as ADD left it.
 *
 * The bridge and ptp plugins find the masquerading rules to take away by the addresses on the
 * interface (plugins 1.1.1: `DelLinkByNameAddr` and `TeardownIPMasq`). With the addresses moved to the
 * guest, or the namespace gone, they would leave a rule and a chain behind for every pod. So the
 * addresses come back for the time of DEL, on a stand-in when there is no interface.
 *
 * @returns takes the stand-in away, when one was made
 */
export async function dressForDelete(
  namespaces: NamedNamespaces,
  sandboxId: string,
  netnsPath: string,
  result: JsonObject,
): Promise<() => Promise<void>> {
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
  const undo = async (): Promise<void> => (there ? undefined : await namespaces.remove(sandboxId));
  try {
    const stand = `link add ${interfaceName} type veth peer name peer0`;
    const restore = addresses.map((address) => `addr replace ${address} dev ${interfaceName} ${noDad(address)}`);
    const input = `${[...(there ? [] : [stand]), ...restore].join('\n')}\n`;
    await run('nsenter', [`--net=${netnsPath}`, 'ip', '-batch', '-'], { timeoutMs, stage: 'cni-del', input });
    return undo;
  } catch (caught) {
    await undo();
    throw caught;
  }
}

/** IPv6 addresses are not to be searched for duplicates: nobody will use them. */
function noDad(address: string): string {
  return address.includes(':') ? 'nodad' : '';
}
