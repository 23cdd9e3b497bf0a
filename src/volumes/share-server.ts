/** The file server of one pod: started when the pod's first live volume comes, ended with the pod. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, rm, stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { sleep, withDeadline } from '../base/deadline.ts';
import { HuskError, isErrno } from '../base/errors.ts';
import { run } from '../base/exec.ts';
import { asInteger, asList, asObject, asString } from '../base/shape.ts';
import { allGone, isAlive, kill, type ProcessIdentity } from '../jail/process.ts';
import { readyLine } from '../jail/ready-line.ts';
import type { UserNamespace } from '../pod/user-namespace.ts';

export interface ShareServerSpec {
  /** The compiled husk-share. */
  readonly program: string;
  /** QEMU's socket of the VM's port for files. */
  readonly socket: string;
  /** The pod's state folder: root's. */
  readonly stateFolder: string;
  readonly cgroupPaths: readonly string[];
  /** Its serving process died and another goes on from there. Only told of a server that this process started. */
  readonly onDeath?: (() => void) | undefined;
}

/** What is shared, and how. */
export interface Share {
  /** Resolved: no link in it. */
  readonly path: string;
  readonly isFile: boolean;
  readonly access: 'rw' | 'ro' | 'rro';
  /** Mounts that the host makes below the path later are seen. */
  readonly hostToContainer: boolean;
  /** Nobody but the pod changes what is in it: the guest may rely on what it knows. */
  readonly own?: boolean | undefined;
  /** Owners are seen, and written, as ids of this user namespace. */
  readonly mapped?: UserNamespace | undefined;
}

interface NamedShare {
  readonly key: string;
  readonly name: string;
}

interface State extends ProcessIdentity {
  readonly shares: readonly NamedShare[];
}

const stateFile = 'share.json';
const startTimeoutMs = 10_000;
const addTimeoutMs = 10_000;
const goneTimeoutMs = 10_000;
/** Only for a server that an earlier daemon started: that of our own is a child. */
const pollMs = 250;
/** The program makes so many mount points of each kind. */
const maxShares = 128;

export class ShareServer {
  /** Why it ended. Never rejects. */
  readonly exited: Promise<string>;
  readonly #spec: ShareServerSpec;
  readonly #identity: ProcessIdentity;
  #shares: NamedShare[];

  private constructor(
    spec: ShareServerSpec,
    found: { identity: ProcessIdentity; shares: readonly NamedShare[]; exited: Promise<string> },
  ) {
    this.#spec = spec;
    this.#identity = found.identity;
    this.#shares = [...found.shares];
    this.exited = found.exited;
  }

  /**
   * Starts the server. It outlives this process and ends with its socket.
   * @throws HuskError `internal` with what the program said, `not-found` without the program
   */
  static async start(spec: ShareServerSpec, signal?: AbortSignal): Promise<ShareServer> {
    const root = join(spec.stateFolder, 'share-root');
    await mkdir(root, { recursive: true, mode: 0o700 });
    const groups = spec.cgroupPaths.flatMap((path) => ['--cgroup', path]);
    const child = spawn(spec.program, ['serve', '--socket', spec.socket, '--root', root, ...groups], {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {},
      cwd: '/',
    });
    const ended = (once(child, 'exit') as Promise<[number | null]>).then(
      // The keeper tells a signal as a shell would.
      ([code]: [number | null]) => `exit code ${code ?? 'unknown'}`,
      (caught: unknown) => String(caught),
    );
    try {
      const line = await withDeadline('start of the file server', startTimeoutMs, signal, () =>
        readyLine(spec.program, child),
      );
      const ready = /^ready (\d{1,10}) (\d{1,20})\n$/.exec(line);
      if (ready === null) throw new HuskError('internal', `start the file server: ${line.trim() || (await ended)}`);
      child.unref();
      tellDeaths(child, spec.onDeath);
      const identity = { pid: Number(ready[1]), startTicks: ready[2] as string };
      const server = new ShareServer(spec, { identity, shares: [], exited: ended });
      await server.#save();
      return server;
    } catch (caught) {
      child.kill('SIGKILL');
      throw HuskError.from(caught, 'volumes');
    }
  }

  /** The server of an earlier daemon: undefined when the pod had none, `lost` when it is gone. */
  static async find(spec: ShareServerSpec): Promise<ShareServer | 'lost' | undefined> {
    const state = await readState(spec.stateFolder);
    if (state === undefined) return undefined;
    if (!isAlive(state)) return 'lost';
    return new ShareServer(spec, { identity: state, shares: state.shares, exited: gone(state) });
  }

  /** Ends the server of a pod, whoever started it. Absent: done. */
  static async end(stateFolder: string): Promise<void> {
    const state = await readState(stateFolder);
    if (state !== undefined) {
      kill(state);
      await withDeadline('end of the file server', goneTimeoutMs, undefined, () => allGone([state]));
    }
    await rm(join(stateFolder, stateFile), { force: true });
  }

  /**
   * Shares a path and returns its name below the server's root; again is the same share, unless something else
   * stands at the path by now.
   * @throws HuskError `resource-exhausted` beyond 128 folders or files, `internal`
   */
  async add(share: Share, signal?: AbortSignal): Promise<string> {
    const how = [share.access, share.hostToContainer ? 'slave' : 'private', ...mappingArgs(share.mapped)];
    const { dev, ino } = await stat(share.path, { bigint: true });
    const key = `${how.join(' ')} ${share.own === true ? 'own ' : ''}${dev}:${ino} ${share.path}`;
    const known = this.#shares.find((each) => each.key === key);
    if (known !== undefined) return known.name;
    const name = this.#freeName(share.isFile ? 'f' : share.own === true ? 'p' : 'd');
    // Written before it is done: a name that was taken in vain is not used again.
    this.#shares.push({ key: '', name });
    await this.#save();
    await run(this.#spec.program, ['add', String(this.#identity.pid), share.path, name, ...how], {
      timeoutMs: addTimeoutMs,
      signal,
      stage: 'volumes',
    });
    this.#shares = this.#shares.map((each) => (each.name === name ? { key, name } : each));
    await this.#save();
    return name;
  }

  #freeName(letter: 'd' | 'f' | 'p'): string {
    const taken = this.#shares.filter(({ name }) => name.startsWith(letter)).length;
    if (taken < maxShares) return `${letter}${taken}`;
    throw new HuskError('resource-exhausted', `share a path with the VM: it has ${maxShares} of its kind already`, {
      stage: 'volumes',
    });
  }

  #save(): Promise<void> {
    const { pid, startTicks } = this.#identity;
    const state: State = { pid, startTicks, shares: this.#shares };
    return writeFileAtomic(join(this.#spec.stateFolder, stateFile), JSON.stringify(state), 0o600);
  }
}

function tellDeaths({ stderr }: ChildProcess, onDeath: (() => void) | undefined): void {
  // A line for each. They must be read, but keep nobody up.
  stderr?.on('data', (chunk: Buffer) => {
    for (const byte of chunk) if (byte === 10) onDeath?.();
  });
  if (stderr instanceof Socket) stderr.unref();
}

function mappingArgs(mapped: UserNamespace | undefined): string[] {
  if (mapped === undefined) return [];
  return [mapped.uids, mapped.gids].map(({ hostId, length }) => `${hostId}:${length}`);
}

async function readState(stateFolder: string): Promise<State | undefined> {
  const text = await readFile(join(stateFolder, stateFile), 'utf8').catch((caught: unknown) => {
    if (isErrno(caught, 'ENOENT')) return undefined;
    throw caught;
  });
  if (text === undefined) return undefined;
  const state = asObject(JSON.parse(text), 'file server');
  return {
    pid: asInteger(state['pid'], 'pid'),
    startTicks: asString(state['startTicks'], 'startTicks'),
    shares: asList(state['shares'], 'shares', (each, where) => {
      const share = asObject(each, where);
      return { key: asString(share['key'], where), name: asString(share['name'], where) };
    }),
  };
}

async function gone(identity: ProcessIdentity): Promise<string> {
  while (isAlive(identity)) await sleep(pollMs);
  return 'ended';
}
