/** A container in this guest: what it was made of, its output, and how it ended. */
import { readFileSync, statSync } from 'node:fs';
import type { ContainerExited, Layer, ResolvedUser, VolumeMount } from '../../src/gen/agent/v1/agent.ts';
import { takesSignal } from '../../src/oci/takes-signal.ts';
import { ExecCgroups, killCgroup, wasOomKilled } from './cgroup.ts';
import type { ContainerInput } from './container-input.ts';
import type { ExecTarget } from './exec-request.ts';
import type { ProcessExit } from './exits.ts';
import type { OutputStream } from './output-stream.ts';
import type { StreamHandle } from './streams.ts';

/** After the first process ended, another may hold its output open; silent for so long, it is not waited for. */
const strayOutputMs = 2_000;

export interface ContainerParts {
  readonly id: string;
  /** The container as execs find it. */
  readonly target: ExecTarget;
  /** Lets the first process run its program. @param ended resolves when it has ended */
  readonly start: (ended: Promise<void>) => Promise<void>;
  readonly user: ResolvedUser;
  readonly layers: readonly Layer[];
  readonly mounts: readonly VolumeMount[];
  /** Directory of its cgroup. */
  readonly cgroup: string;
  /** Its files of ours. */
  readonly folder: string;
  /** The folder that the OCI runtime made it from: the same one, or a prepared container's. */
  readonly bundle: string;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly input: ContainerInput | undefined;
  /** Its terminal, where it has one. */
  readonly console: StreamHandle | undefined;
  /** Its first client is waited for, and waited for again when it reads slowly. */
  readonly foreground: boolean;
  /** Closes what else is held of it; again is fine. */
  readonly release: () => void;
  /** Called when there is something new to send. */
  readonly changed: () => void;
}

export class Container {
  readonly parts: ContainerParts;
  /** Resolves when its first process has ended. */
  readonly ended: Promise<void>;
  readonly execCgroups: ExecCgroups;
  readonly #attached = Promise.withResolvers<void>();
  /** The host has stored the exit. */
  exitAcknowledged = false;
  #exited: ContainerExited | undefined;
  #started = false;
  /** The file that its first process ran before it was started: the OCI runtime's, or ours. */
  #starter: string | undefined;

  constructor(parts: ContainerParts, exit: Promise<ProcessExit>) {
    this.parts = parts;
    this.execCgroups = new ExecCgroups(parts.cgroup);
    this.ended = exit.then((found) => this.#end(found));
  }

  get exited(): ContainerExited | undefined {
    return this.#exited;
  }

  get state(): 'created' | 'running' | 'exited' {
    if (this.#exited !== undefined) return 'exited';
    return this.#started ? 'running' : 'created';
  }

  /** The FIFO that is its standard input, while it takes any. */
  get inputPath(): string | undefined {
    return this.parts.input?.path;
  }

  /** A client writes to its standard input: with stdin_once, that input ends when the client does. */
  inputJoined(): void {
    this.parts.input?.joined();
  }

  /** Resolves when a client has all of its streams. */
  get attached(): Promise<void> {
    return this.#attached.promise;
  }

  markAttached(): void {
    this.#attached.resolve();
  }

  /** Lets the first process run its program. */
  async start(): Promise<void> {
    this.#starter = this.#program();
    await this.parts.start(this.ended);
    this.#started = true;
  }

  /**
   * Whether the signal would reach the container's program: it runs already, and takes it. True for one that
   * has ended. runC's process catches signals too, and would end by them as a failure of its own.
   */
  takes(signal: number): boolean {
    if (this.#exited !== undefined) return true;
    try {
      // First the program: a status read before it took its starter's place would tell of the starter's handlers.
      if (this.#program() === this.#starter) return false;
      return takesSignal(readFileSync(`/proc/${this.parts.target.pid}/status`, 'latin1'), signal);
    } catch {
      return true;
    }
  }

  /** Sends a signal to the first process. */
  signal(signal: NodeJS.Signals | number): void {
    if (this.#exited !== undefined) return;
    try {
      process.kill(this.parts.target.pid, signal);
    } catch {
      // It ended in this moment: its exit is on the way.
    }
  }

  /** Kills every process of the container. */
  killAll(): void {
    if (!killCgroup(this.parts.cgroup)) this.signal('SIGKILL');
  }

  /** Closes what the agent holds open of it. */
  close(): void {
    this.parts.stdout.end();
    this.parts.stderr.end();
    this.parts.input?.close();
    this.parts.console?.close();
    this.parts.release();
  }

  /** The file that the first process runs; undefined when it has ended. */
  #program(): string | undefined {
    try {
      const { dev, ino } = statSync(`/proc/${this.parts.target.pid}/exe`);
      return `${dev}:${ino}`;
    } catch {
      return undefined;
    }
  }

  #end(exit: ProcessExit): void {
    const { id, cgroup, changed, stdout, stderr } = this.parts;
    this.#exited = {
      containerId: id,
      exitCode: exit.exitCode,
      oomKilled: exit.exitCode !== 0 && wasOomKilled(cgroup),
      finishedAtNs: BigInt(Date.now()) * 1_000_000n,
    };
    // In a shared PID namespace the container's other processes would live on, without a container.
    killCgroup(cgroup);
    stdout.endWhenIdle(strayOutputMs);
    stderr.endWhenIdle(strayOutputMs);
    changed();
  }
}
