import { systemClock } from '../../base/clock.ts';
import { HuskError } from '../../base/errors.ts';
import type { CallRequest, CallResponse } from '../../gen/gateway/v1/gateway.ts';
import {
  checkConfigureSandbox,
  checkContainerStates,
  checkCreateContainer,
  checkStartContainer,
  checkStopContainer,
  onlySteps,
} from '../check/answers.ts';
import { checkStats } from '../check/stats.ts';
import type { Gateway, Vm } from '../gateway.ts';
import { timeoutOf } from './reply.ts';

/** Call: one agent call. The answer is checked and encoded anew, so that nothing unknown passes. */
export async function call(
  gateway: Gateway,
  { vmId, timeoutMs, request }: CallRequest,
  signal: AbortSignal,
): Promise<CallResponse> {
  if (request === undefined) throw new HuskError('invalid-argument', 'request: must be set');
  return { response: await answer(gateway.vm(vmId), request, { timeoutMs: timeoutOf(timeoutMs), signal }) };
}

type Request = NonNullable<CallRequest['request']>;
type Response = NonNullable<CallResponse['response']>;

async function answer(vm: Vm, request: Request, limits: { timeoutMs: number; signal: AbortSignal }): Promise<Response> {
  const { $case } = request;
  const { timeoutMs, signal } = limits;
  const empty = { ...limits, check: () => ({}) };
  const now = (): bigint => systemClock.wallNs();
  switch ($case) {
    case 'hello':
      return { $case, value: await vm.answer(timeoutMs, signal) };
    case 'configureSandbox':
      return { $case, value: await vm.call($case, request.value, { ...limits, check: checkConfigureSandbox }) };
    case 'createContainer':
      // Before the call: its output may overtake its answer.
      vm.containers.add(request.value.containerId);
      return { $case, value: await vm.call($case, request.value, { ...limits, check: checkCreateContainer }) };
    case 'startContainer': {
      const askedNs = now();
      return {
        $case,
        value: await vm.call($case, request.value, {
          ...limits,
          check: (given) => checkStartContainer(given, askedNs, now()),
        }),
      };
    }
    case 'stopContainer':
      return { $case, value: await vm.call($case, request.value, { ...limits, check: checkStopContainer }) };
    case 'putVolume':
      return { $case, value: await vm.call($case, request.value, empty) };
    case 'removeContainer': {
      const value = await vm.call($case, request.value, { ...limits, check: onlySteps });
      vm.containers.remove(request.value.containerId);
      return { $case, value };
    }
    case 'listContainers': {
      const known = (id: string): boolean => vm.containers.has(id);
      const check = (given: Parameters<typeof states>[0]): { containers: ReturnType<typeof checkContainerStates> } =>
        states(given, known);
      return { $case, value: await vm.call($case, request.value, { ...limits, check }) };
    }
    case 'stats': {
      const known = (id: string): boolean => vm.containers.has(id);
      const check = (given: Parameters<typeof checkStats>[0]): ReturnType<typeof checkStats> =>
        checkStats(given, known);
      return { $case, value: await vm.call($case, request.value, { ...limits, check }) };
    }
    case 'updateContainer':
      return { $case, value: await vm.call($case, request.value, empty) };
    default:
      return $case satisfies never;
  }
}

function states(
  given: { containers: Parameters<typeof checkContainerStates>[0] },
  known: (id: string) => boolean,
): { containers: ReturnType<typeof checkContainerStates> } {
  return { containers: checkContainerStates(given.containers, known, systemClock.wallNs()) };
}
