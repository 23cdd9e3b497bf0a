/** Finding a native pod of an earlier daemon. */
import { existsSync } from 'node:fs';
import type { SandboxRecord } from '../pod/records.ts';
import { isNamespace } from './namespaces.ts';
import { parseNativeState } from './native-state.ts';
import type { NativeRuntimeOptions } from './options.ts';
import { podPlaces } from './places.ts';
import { podInitRuns } from './pod-init.ts';
import { readBootId } from './sandbox-run.ts';

/** Whether everything that makes up the pod is still there: it has no process that could tell. */
export async function podIsThere(options: NativeRuntimeOptions, record: SandboxRecord): Promise<boolean> {
  const state = parseNativeState(record.status.runtimeState);
  if (state === undefined || state.bootId !== (await readBootId())) return false;
  const places = podPlaces(options, record.id);
  if (!existsSync(places.containers)) return false;
  const { own } = state;
  if (own.network && !(await isNamespace(options.network.namespacePath(record.id)))) return false;
  if (own.ipc && !(await isNamespace(places.ipc))) return false;
  if (own.uts && !(await isNamespace(places.uts))) return false;
  return !state.sharedPid || podInitRuns(places, record.id);
}
