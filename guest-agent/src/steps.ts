/** Where the time of a call goes inside the guest; told with its answer. */
import { span, type Trace, traced } from '../../src/base/trace.ts';
import type { Step } from '../../src/gen/agent/v1/agent.ts';
import type { OciRuntime } from './oci-runtime.ts';
import type { Sys } from './sys-helper.ts';

/** What an RPC's own file answers: its steps are added to it in one place. */
export type Answer<Response> = Omit<Response, 'steps'>;

/** The host takes no more. */
const maxSteps = 64;
const rpc = 'call';
/** Nobody outside sees a guest's traces: a random name for each would make OpenSSL's generator run. */
const unnamed = { traceId: '0'.repeat(32), spanId: '0'.repeat(16), sampled: false };

/** Runs a call; what is a `span` of it becomes a step of its answer. */
export async function withSteps<Response>(
  work: () => Promise<Answer<Response>>,
): Promise<Answer<Response> & { steps: Step[] }> {
  let ended: Trace | undefined;
  const answer = await traced(rpc, unnamed, (trace) => void (ended = trace), work);
  return { ...answer, steps: stepsOf(ended?.spans ?? []) };
}

/** Each batch of system calls as a step. */
export function steppedSys(sys: Sys): Sys {
  return { run: (ops) => span(`sys ${ops[0]?.name ?? ''}`, () => sys.run(ops)) };
}

/** Each call of the OCI runtime that a pod's start waits for as a step. */
export function steppedRuntime(runtime: OciRuntime): OciRuntime {
  return {
    ...runtime,
    create: (...given) => span('runtime create', () => runtime.create(...given)),
    start: (...given) => span('runtime start', () => runtime.start(...given)),
  };
}

/** The spans as they go over the wire: whole microseconds. Pure. */
export function stepsOf(spans: Trace['spans']): Step[] {
  return spans.slice(0, maxSteps).map(({ name, startMs, endMs }) => ({
    name,
    startUs: Math.round(startMs * 1000),
    endUs: Math.round(endMs * 1000),
  }));
}
