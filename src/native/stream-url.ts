/** Exec, Attach and PortForward of native pods: a URL, and a process that serves its one client (ADR 0093). */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HuskError } from '../base/errors.ts';
import { ContainerConfig, PodSandboxConfig } from '../gen/cri/v1/api.ts';
import type { StreamUrlRequest } from '../gen/gateway/v1/gateway.ts';
import { execProcess } from '../oci/complete-spec.ts';
import type { OciSpec } from '../oci/runtime-spec.ts';
import type { StreamWish } from '../pod/pod-runtime.ts';
import type { SandboxRecord } from '../pod/records.ts';
import type { NativeContext } from './context.ts';
import { parseNativeState } from './native-state.ts';
import { containerPlaces, podPlaces, sharedPlaces } from './places.ts';
import { type StreamProcessWish, withStreamProcess } from './stream-process.ts';

/** The name of the cgroup for these processes, beside those of the containers. */
const streamsCgroup = 'streams';
/** Where a process finds the description of what it is to start. */
const specPath = '/proc/self/fd/3';
/** Of the name that such a description has for a moment. */
const specPrefix = 'spec-';

/** Makes the folder of streams; takes away what a daemon that was killed while it began one has left. */
export async function prepareStreams(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o711 });
  for (const name of await readdir(folder)) if (name.startsWith(specPrefix)) await rm(join(folder, name));
}

interface Job {
  readonly context: NativeContext;
  readonly sandbox: SandboxRecord;
  readonly signal: AbortSignal;
}

type CommandWish = Extract<StreamWish, { container: unknown }>;
type Kind = NonNullable<StreamUrlRequest['kind']>;

/**
 * The URL of a stream, good once and for a minute.
 * @throws HuskError `failed-precondition` for input that the container does not take, `resource-exhausted`
 */
export async function streamUrl(job: Job, wish: StreamWish): Promise<string> {
  if (wish.route === 'exec') return await execUrl(job, wish);
  if (wish.route === 'attach') return await attachUrl(job, wish);
  const { options } = job.context;
  const own = parseNativeState(job.sandbox.status.runtimeState)?.own.network ?? true;
  const netns = own ? options.network.namespacePath(job.sandbox.id) : '';
  const process = { program: options.programs.streamPorts, args: [netns] };
  return await start(job, process, { $case: 'portForward', value: {} });
}

async function execUrl(job: Job, wish: CommandWish): Promise<string> {
  const { context, sandbox } = job;
  const { container, tty, stdin, stdout, stderr } = wish;
  const { path, globalArgs } = context.runtimeOf(sandbox);
  const places = containerPlaces(podPlaces(context.options, sandbox.id), container.id);
  const spec = JSON.parse(await readFile(places.spec, 'utf8')) as OciSpec;
  const value = { containerId: container.id, command: [...wish.command], tty, stdin, stdout, stderr: stderr && !tty };
  const runtime = [path, ...globalArgs, 'exec', '--detach', '--pid-file', '@pid', '--process', specPath];
  const console = tty ? ['--console-socket', '@tty'] : [];
  const args = [letters(value), ...runtime, ...console, container.id];
  const file = join(sharedPlaces(context.options).streams, `${specPrefix}${randomUUID()}`);
  await using opened = await openUnnamed(file, JSON.stringify(execProcess(spec, wish.command, tty)));
  const program = context.options.programs.streamExec;
  return await start(job, { program, args, fd: opened.fd }, { $case: 'exec', value });
}

async function attachUrl(job: Job, { container, stdin, stdout, stderr }: CommandWish): Promise<string> {
  const { options } = job.context;
  const config = ContainerConfig.decode(Buffer.from(container.configBase64, 'base64'));
  if (stdin && !config.stdin) {
    throw new HuskError(
      'failed-precondition',
      `attach to the standard input of container "${container.id}": it has none`,
    );
  }
  const { tty } = config;
  const value = { containerId: container.id, command: [], tty, stdin, stdout, stderr: stderr && !tty };
  // conmon takes the end of any connection for that of the input.
  const keep = config.stdin && config.stdinOnce && !stdin ? 'k' : '';
  const places = containerPlaces(podPlaces(options, job.sandbox.id), container.id);
  const args = [letters(value) + keep, places.folder];
  return await start(job, { program: options.programs.streamAttach, args }, { $case: 'attach', value });
}

type Streams = Readonly<Record<'tty' | 'stdin' | 'stdout' | 'stderr', boolean>>;

/** What the programs call the streams. */
function letters({ tty, stdin, stdout, stderr }: Streams): string {
  return [stdin && 'i', stdout && 'o', stderr && 'e', tty && 't'].filter((letter) => letter !== false).join('');
}

async function start(
  { context, sandbox, signal }: Job,
  process: Pick<StreamProcessWish, 'program' | 'args' | 'fd'>,
  kind: Kind,
): Promise<string> {
  const { options } = context;
  const config = PodSandboxConfig.decode(Buffer.from(sandbox.configBase64, 'base64'));
  const cgroup = { parent: config.linux?.cgroupParent ?? '', sandboxId: sandbox.id };
  const wish = {
    ...process,
    sandboxId: sandbox.id,
    streams: sharedPlaces(options).streams,
    ids: options.streams,
    cgroups: () => options.cgroups.make(cgroup, streamsCgroup),
  };
  const url = (nativeFolder: string): Promise<string> =>
    options.streams.url({ vmId: sandbox.id, kind, nativeFolder }, signal);
  return await withStreamProcess(wish, url, signal);
}

/** A file that has lost its name, to be read alone: it holds the environment of a container, and the OCI runtime inherits it. */
async function openUnnamed(path: string, text: string) {
  try {
    await writeFile(path, text, { flag: 'wx', mode: 0o600 });
    return await open(path, 'r');
  } finally {
    await rm(path, { force: true });
  }
}
