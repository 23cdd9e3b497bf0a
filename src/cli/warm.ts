/** Warming a template: real agent calls, so that what they need is compiled and in memory in every clone. */
import type { AgentHub } from '../agent/agent.ts';
import { noLinkKey } from '../gateway/link/handshake.ts';

/** From a cold boot under emulation to the first answer, with room for a busy machine. */
const bootMs = 120_000;
const callMs = 30_000;
/** V8 compiles what runs often; measured: later calls of a clone get no faster beyond this. */
const rounds = 30;
const templateId = 'template';

/** Talks to the agent of a template's VM and leaves it disconnected. */
export async function warmTemplate(hub: AgentHub, agentSocket: string, signal: AbortSignal): Promise<void> {
  try {
    const { agent } = await hub.attach(
      { id: templateId, agentSocket, linkKey: noLinkKey, resume: [] },
      { timeoutMs: bootMs, signal },
    );
    // The first answer comes when the agent has prepared its containers, which takes as long as a boot.
    await agent.listContainers({ timeoutMs: bootMs, signal });
    for (let round = 1; round < rounds; round += 1) await agent.listContainers({ timeoutMs: callMs, signal });
  } finally {
    await hub.detach(templateId);
  }
}
