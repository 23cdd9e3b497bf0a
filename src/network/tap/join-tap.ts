import { sleep, withDeadline } from '../../base/deadline.ts';
import { run } from '../../base/exec.ts';
import { type PodInterface, tapName } from '../network.ts';
import { type Joint, type RulesetMode, tapRuleset } from './ruleset.ts';

const toolTimeoutMs = 10_000;
/** How long the launcher may take to make the tap. */
const tapDeadlineMs = 15_000;
const pollMs = 5;
const stage = 'join-tap';

/**
 * Joins the tap in a namespace with the pod's interface. May be repeated.
 *
 * The rules stand before the tap comes up, so no frame passes that they have not seen. Then the
 * interface loses its addresses: they are the guest's now, and the host must not answer for them.
 *
 * @throws HuskError `deadline-exceeded` when there is no tap in time
 */
export async function joinTap(netnsPath: string, podInterface: PodInterface, signal?: AbortSignal): Promise<void> {
  const { name, mac, mtu, addresses } = podInterface;
  const joint = { interfaceName: name, tapName, mac, addresses };
  await withDeadline(`"${tapName}" in "${netnsPath}"`, tapDeadlineMs, signal, async (inTime) => {
    while (!(await loadRules(netnsPath, joint, inTime))) await sleep(pollMs, inTime);
  });
  // allmulticast: the guest's groups are not known to the interface's own filter (macvlan has one).
  const batch = [
    `link set dev ${name} addrgenmode none`,
    `link set dev ${name} allmulticast on`,
    `addr flush dev ${name}`,
    `link set dev ${tapName} addrgenmode none`,
    `link set dev ${tapName} mtu ${mtu} up`,
  ];
  await ipBatch(netnsPath, batch, signal);
}

/** Loads the rules; false when there is no tap yet. */
async function loadRules(netnsPath: string, joint: Joint, signal: AbortSignal): Promise<boolean> {
  const load = async (mode: RulesetMode): Promise<string> => {
    const input = tapRuleset(joint, mode);
    return await run('nsenter', [`--net=${netnsPath}`, 'nft', '-f', '-'], {
      timeoutMs: toolTimeoutMs,
      signal,
      stage,
      input,
    });
  };
  try {
    await load('fresh');
  } catch {
    if (!(await hasLink(netnsPath, joint.tapName, signal))) return false;
    await load('replace');
  }
  return true;
}

async function hasLink(netnsPath: string, link: string, signal: AbortSignal): Promise<boolean> {
  const printed = await run('nsenter', [`--net=${netnsPath}`, 'ip', '-json', 'link', 'show'], {
    timeoutMs: toolTimeoutMs,
    signal,
    stage,
  });
  return printed.includes(`"ifname":"${link}"`);
}

/** Runs `ip` commands in a namespace, in one process. */
async function ipBatch(netnsPath: string, lines: readonly string[], signal?: AbortSignal): Promise<void> {
  const input = `${lines.join('\n')}\n`;
  await run('nsenter', [`--net=${netnsPath}`, 'ip', '-batch', '-'], { timeoutMs: toolTimeoutMs, signal, stage, input });
}
