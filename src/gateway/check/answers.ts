/**
 * Checks of what an agent answers. A guest may lie about itself; what it may not do is hand
 * the host a value that no honest agent can send.
 */
import { HuskError } from '../../base/errors.ts';
import { isId } from '../../base/ids.ts';
import type {
  ConfigureSandboxResponse,
  ContainerExited,
  ContainerState,
  CreateContainerResponse,
  ExecResult,
  HelloResponse,
  StartContainerResponse,
  Step,
  StopContainerResponse,
} from '../../gen/agent/v1/agent.ts';
import { cleanText } from './text.ts';

const randomSampleBytes = 32;
const maxGroups = 65_536;
const maxContainers = 1_024;
const maxVersionLength = 256;
const maxSteps = 64;
const maxStepName = 40;
const highestExitCode = 255;
/** The guest's clock is set by the host and may run ahead a little. */
const clockSlackNs = 2_000_000_000n;
/** 2020-01-01: no exit is older than the program. */
const oldestNs = 1_577_836_800_000_000_000n;

/** The error of an answer that no honest agent gives; it ends the link. */
export function protocolError(what: string): HuskError {
  return new HuskError('data-loss', `agent protocol: ${what}`, { stage: 'agent-protocol' });
}

/** Wants the nonce of this very call back. */
export function checkHello(answer: HelloResponse, nonce: Buffer): HelloResponse {
  if (!answer.nonce.equals(nonce)) throw protocolError('Hello answered with another nonce');
  return {
    nonce,
    guestImage: cleanText(answer.guestImage, maxVersionLength),
    kernelRelease: cleanText(answer.kernelRelease, maxVersionLength),
    ociRuntimeVersion: cleanText(answer.ociRuntimeVersion, maxVersionLength),
    configured: answer.configured,
  };
}

/** Wants 32 bytes. */
export function checkConfigureSandbox(answer: ConfigureSandboxResponse): ConfigureSandboxResponse {
  if (answer.randomSample.length !== randomSampleBytes) {
    throw protocolError(`random sample of ${answer.randomSample.length} bytes: want ${randomSampleBytes}`);
  }
  return { randomSample: Buffer.from(answer.randomSample), steps: checkSteps(answer.steps) };
}

/** Wants a user with a bounded list of groups; the numbers are 32 bit by their type. */
export function checkCreateContainer(answer: CreateContainerResponse): CreateContainerResponse {
  const { user } = answer;
  if (user === undefined) throw protocolError('CreateContainer answered without a user');
  if (user.supplementalGroups.length > maxGroups) {
    throw protocolError(`user with ${user.supplementalGroups.length} groups: want at most ${maxGroups}`);
  }
  const { uid, gid, supplementalGroups } = user;
  return { user: { uid, gid, supplementalGroups: [...supplementalGroups] }, steps: checkSteps(answer.steps) };
}

/** The start as the guest saw it if it lies between request and answer, else the time of the answer. */
export function checkStartContainer(
  answer: StartContainerResponse,
  askedNs: bigint,
  nowNs: bigint,
): StartContainerResponse {
  const told = answer.startedAtNs;
  const plausible = told >= askedNs - clockSlackNs && told <= nowNs;
  return { startedAtNs: plausible ? told : nowNs, steps: checkSteps(answer.steps) };
}

/** Where outputs end is compared with what came, and waited for no longer than the caller likes. */
export function checkStopContainer({ lastOutput, steps }: StopContainerResponse): StopContainerResponse {
  const { stdoutEnd = 0n, stderrEnd = 0n } = lastOutput ?? {};
  return { lastOutput: lastOutput && { stdoutEnd, stderrEnd }, steps: checkSteps(steps) };
}

/** Nothing but the steps. */
export function onlySteps({ steps }: { readonly steps: readonly Step[] }): { steps: Step[] } {
  return { steps: checkSteps(steps) };
}

/** Wants a bounded list; a name is shown and no more, and an end before its start is not told. */
export function checkSteps(steps: readonly Step[]): Step[] {
  if (steps.length > maxSteps) throw protocolError(`${steps.length} steps: want at most ${maxSteps}`);
  return steps
    .filter(({ startUs, endUs }) => endUs >= startUs)
    .map(({ name, startUs, endUs }) => ({ name: cleanText(name, maxStepName), startUs, endUs }));
}

/** Wants an exit code from 0 to 255; a time that cannot be becomes the host's. */
export function checkExited(exited: ContainerExited, nowNs: bigint): ContainerExited {
  const { containerId, exitCode, oomKilled, finishedAtNs } = exited;
  if (!isId(containerId)) throw protocolError(`exit of container "${cleanText(containerId, 80)}": no such id`);
  checkExitCode(exitCode);
  const plausible = finishedAtNs >= oldestNs && finishedAtNs <= nowNs + clockSlackNs;
  return { containerId, exitCode, oomKilled, finishedAtNs: plausible ? finishedAtNs : nowNs };
}

/** Wants an exit code from 0 to 255. */
export function checkExecResult(result: ExecResult): ExecResult {
  checkExitCode(result.exitCode);
  return { exitCode: result.exitCode, timedOut: result.timedOut };
}

/** Wants each container once and in a state that exists. Those that are not known are left out. */
export function checkContainerStates(
  states: readonly ContainerState[],
  known: (id: string) => boolean,
  nowNs: bigint,
): ContainerState[] {
  if (states.length > maxContainers)
    throw protocolError(`list of ${states.length} containers: want at most ${maxContainers}`);
  const seen = new Set<string>();
  const checked: ContainerState[] = [];
  for (const { containerId, state, exited } of states) {
    if (!isId(containerId)) throw protocolError(`list with container "${cleanText(containerId, 80)}": no such id`);
    if (seen.has(containerId)) throw protocolError(`list with container "${containerId}" twice`);
    seen.add(containerId);
    if (state !== 'created' && state !== 'running' && state !== 'exited') {
      throw protocolError(
        `container "${containerId}" in state "${cleanText(state, 40)}": want created, running or exited`,
      );
    }
    if (
      (state === 'exited') !== (exited !== undefined) ||
      (exited !== undefined && exited.containerId !== containerId)
    ) {
      throw protocolError(`container "${containerId}" in state "${state}": its exit does not fit`);
    }
    if (known(containerId)) checked.push({ containerId, state, exited: exited && checkExited(exited, nowNs) });
  }
  return checked;
}

/** Wants an exit code from 0 to 255, and returns it. */
export function checkExitCode(code: number): number {
  if (code >= 0 && code <= highestExitCode) return code;
  throw protocolError(`exit code ${code}: want 0 to ${highestExitCode}`);
}
