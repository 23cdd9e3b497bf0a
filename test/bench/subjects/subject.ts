/** One runtime under test, whichever it is: all that a measurement knows of it. */
import type { Cri } from '../../helpers/cri.ts';
import type { Process } from '../processes.ts';

/** The processes of a runtime, by what they are for. */
export interface SubjectProcesses {
  /** Daemon and helpers: shims, gateways, keepers. */
  readonly management: readonly number[];
  /** What pods run in: VM processes, containers. */
  readonly workload: readonly number[];
}

export interface Subject {
  readonly name: string;
  readonly cri: Cri;
  readonly folder: string;
  /** Name of its bridge. */
  readonly bridge: string;
  /** Path of the socket that it serves CRI on. */
  readonly socket: string;
  /** Says of a process whether it, and with it all below it, belongs to this runtime. */
  owns(process: Process): boolean;
  processes(): SubjectProcesses;
  /** The process that serves exec, attach and port-forward. */
  streamingServer(): number;
  /** Removes its pods, ends it and takes away what it made on this machine. */
  stop(): Promise<void>;
}
