/** `husk run`: a pod without a daemon, in the foreground, gone when its container has ended. */
import { HuskError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import type { PodEngine } from '../../pod/engine/pod-engine.ts';
import type { ContainerStatusRecord } from '../../pod/records.ts';
import { checkContainerConfig } from '../../pod/validate/container-config.ts';
import { checkSandboxConfig } from '../../pod/validate/sandbox-config.ts';
import type { Config } from '../config.ts';
import { attachStreams } from './attach.ts';
import { type PreparedRun, prepareRun } from './prepare.ts';
import { RunSignals } from './signals.ts';
import { checkTerminal, clientStreams, inheritedStreams, rawTerminal } from './terminal.ts';
import { type RunCommand, type RunWish, wishOf } from './wish.ts';

export interface DirectRun {
  readonly config: Config;
  readonly command: Omit<RunCommand, 'id'>;
  readonly pull: boolean;
  readonly log: Log;
  /** Tells a person what takes long. */
  readonly say: (text: string) => void;
  /** Tells what the exit code does not. */
  readonly tell: (text: string) => void;
}

/**
 * Runs the container to its end and takes everything away.
 * @returns the exit code: the container's, or 128 and the number of the signal that came before it ran
 * @throws HuskError what made the run impossible
 */
export async function directRun(run: DirectRun): Promise<number> {
  using signals = new RunSignals();
  try {
    return await runToEnd(run, signals);
  } catch (caught) {
    if (signals.exitCode !== undefined) return signals.exitCode;
    throw caught;
  }
}

async function runToEnd({ config, command, pull, log, say, tell }: DirectRun, signals: RunSignals): Promise<number> {
  const draft = wishOf({ ...command, id: 'draft' });
  const { tty, stdin } = draft.container;
  checkTerminal({ tty, stdin });
  using inherited = draft.runtimeHandler === 'native' ? inheritedStreams({ tty, stdin }) : undefined;
  const { image } = command;
  await using prepared = await prepareRun({
    ...{ config, image, pull, log, say },
    streams: inherited,
    plugins: draft.plugins,
    signal: signals.stop,
  });
  const wish = wishOf({ ...command, id: `run-${prepared.id}` });
  await using pod = await startPod(prepared, wish, signals.stop);
  return await runContainer(prepared.engine, { ...pod, wish, log, tell }, signals);
}

interface StartedPod extends AsyncDisposable {
  readonly containerId: string;
}

/** Makes pod and container. Disposing takes both away. */
async function startPod({ engine }: PreparedRun, wish: RunWish, signal: AbortSignal): Promise<StartedPod> {
  await using stack = new AsyncDisposableStack();
  const sandboxId = await engine.sandboxes.run(checkSandboxConfig(wish.pod), wish.runtimeHandler, signal);
  stack.defer(() => engine.sandboxes.remove(sandboxId));
  const containerId = await engine.containers.create(sandboxId, checkContainerConfig(wish.container), signal);
  const owned = stack.move();
  return { containerId, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

type Tell = DirectRun['tell'];

interface Running {
  readonly containerId: string;
  readonly wish: RunWish;
  readonly log: Log;
  readonly tell: Tell;
}

async function runContainer(
  engine: PodEngine,
  { containerId, wish, log, tell }: Running,
  signals: RunSignals,
): Promise<number> {
  using over = new AbortOnDispose();
  const ended = endOf(engine, containerId, over.signal);
  using streams = await joinStreams(engine, { containerId, wish }, signals.stop);
  await engine.containers.start(containerId, signals.stop);
  const kill = (): Promise<void> => engine.containers.stop(containerId, 0);
  signals.handOver(
    {
      signal: (name) => engine.containers.signal(containerId, name),
      stop: (graceSeconds) => engine.containers.stop(containerId, graceSeconds),
    },
    (err: unknown) => log.error({ err }, 'a signal did not reach the container'),
  );
  const written = streams.written.then(
    () => undefined,
    async (caught: unknown) => {
      // Nobody is left to write for: the container's own write would have ended it.
      await kill();
      return caught;
    },
  );
  await ended;
  return exitCodeOf(engine.containers.get(containerId).status, await written, tell);
}

/** @param failure of the streams */
function exitCodeOf({ exitCode, reason, message }: ContainerStatusRecord, failure: unknown, tell: Tell): number {
  if (isBrokenPipe(failure)) return brokenPipeExitCode;
  if (message !== '') tell(`the container ended without its own doing: ${message}`);
  // Its virtual machine is gone, which says more than the streams that went with it.
  else if (failure !== undefined) throw HuskError.from(failure, 'attach');
  if (reason === 'OOMKilled') tell('the container was killed: it used more memory than its limit');
  return exitCode;
}

/** 128 and SIGPIPE. */
const brokenPipeExitCode = 141;

function isBrokenPipe(caught: unknown): boolean {
  return caught instanceof Error && 'code' in caught && caught.code === 'EPIPE';
}

class AbortOnDispose implements Disposable {
  readonly #controller = new AbortController();

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    this.#controller.abort();
  }
}

async function endOf(engine: PodEngine, containerId: string, signal: AbortSignal): Promise<void> {
  for await (const { kind, id } of engine.events.listen(signal)) if (kind === 'stopped' && id === containerId) return;
}

interface JoinedStreams extends Disposable {
  /** Settles when all output has been written. */
  readonly written: Promise<void>;
}

/** Before the start, so that nothing is missed. A native container has our streams themselves. */
async function joinStreams(
  engine: PodEngine,
  { containerId, wish }: Pick<Running, 'containerId' | 'wish'>,
  signal: AbortSignal,
): Promise<JoinedStreams> {
  if (wish.runtimeHandler === 'native') return { written: Promise.resolve(), [Symbol.dispose]: () => undefined };
  const { tty, stdin } = wish.container;
  using stack = new DisposableStack();
  const url = await engine.containers.attachCreated(containerId, { tty, stdin }, signal);
  const streams = clientStreams({ tty, stdin });
  const attachment = stack.adopt(await attachStreams(url, streams, signal), (open) => open.close());
  stack.defer(() => streams.stdin?.destroy());
  if (tty) stack.use(rawTerminal(attachment));
  const owned = stack.move();
  const written = attachment.done;
  written.catch(() => undefined);
  return { written, [Symbol.dispose]: () => owned.dispose() };
}
