/** What the steps of native pods share. */
import type { SandboxRecord } from '../pod/records.ts';
import type { ExitWatcher } from './exit-watcher.ts';
import type { LayerMounts } from './layer-mounts.ts';
import type { OciCli } from './oci-cli.ts';
import type { NativeRuntimeOptions } from './options.ts';

export interface NativeContext {
  readonly options: NativeRuntimeOptions;
  /** The OCI runtime of the pod's handler. @throws HuskError `failed-precondition` when the node no longer has it */
  readonly runtimeOf: (sandbox: Pick<SandboxRecord, 'runtimeHandler'>) => OciCli;
  readonly layers: LayerMounts;
  readonly exits: ExitWatcher;
  /** Says, once, that the kernel does not let us protect containers from its OOM killer as asked. */
  readonly warnOfClamp: (oomScoreAdj: number) => void;
}
