/** Runs all scenarios once: by runC on the host, or in a pod. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from '../../../src/base/deadline.ts';
import { Mount, MountPropagation } from '../../../src/gen/cri/v1/api.ts';
import { completeSpec } from '../../../src/oci/complete-spec.ts';
import type { OciMount, OciSpec } from '../../../src/oci/runtime-spec.ts';
import { buildSpec } from '../../../src/oci/spec.ts';
import { busyboxTar } from '../../fixtures/oci-image.ts';
import type { Daemon } from '../../helpers/daemon.ts';
import { logContent, runPod, shell, startContainer } from '../../helpers/pods.ts';
import { Host, type Scenario } from './scenario.ts';
import { hostAfter, placeOf, scriptOf, sectionsOf } from './script.ts';

/** What came of one scenario: the container's words, part by part, and the host's files. */
export interface Outcome {
  readonly said: string;
  readonly host: string;
}

/** Runs one container to its end: calls `ready` when it waits. Returns its output. */
type RunContainer = (script: string, mounts: readonly Mount[], ready?: () => Promise<void>) => Promise<string>;

/** A copy may take a moment to follow the host. */
const settleMs = 1_500;
const endMs = 240_000;

/** Prepares the host, runs both containers, looks at the host, and takes everything away. */
export async function runScenarios(scenarios: readonly Scenario[], runContainer: RunContainer): Promise<Outcome[]> {
  const base = realpathSync(mkdtempSync(join(tmpdir(), 'husk-scenarios-')));
  try {
    // Shared, as systemd makes the host's root: mounts below can be seen where that is asked for.
    execFileSync('mount', ['--bind', base, base]);
    execFileSync('mount', ['--make-rshared', base]);
    const hosts = scenarios.map((_, index) => new Host(join(base, String(index))));
    for (const [index, scenario] of scenarios.entries()) {
      mkdirSync((hosts[index] as Host).folder);
      scenario.prepare(hosts[index] as Host);
    }
    mkdirSync(join(base, 'sync'));
    const mounts = [
      ...scenarios.flatMap((scenario, index) => mountsOf(scenario, index, hosts[index] as Host)),
      syncMount(base),
    ];
    const first = await runContainer(scriptOf(scenarios, 'first'), mounts, async () => {
      for (const [index, { during }] of scenarios.entries()) during?.(hosts[index] as Host);
      await sleep(settleMs);
      writeFileSync(join(base, 'sync/go'), '');
    });
    const again = scenarios.flatMap((scenario, index) =>
      scenario.second === undefined ? [] : mountsOf(scenario, index, hosts[index] as Host),
    );
    const second = await runContainer(scriptOf(scenarios, 'second'), again);
    for (const output of [first, second])
      if (!output.includes('\n== end\n'))
        throw new Error(`a container did not come to its end: ${output.slice(-2000)}`);
    const said = new Map([...sectionsOf(first), ...sectionsOf(second)]);
    return scenarios.map((_, index) => ({
      said: ['first', 'then', 'second'].map((part) => said.get(`${index} ${part}`) ?? '').join('--\n'),
      host: hostAfter((hosts[index] as Host).folder).join('\n'),
    }));
  } finally {
    unmountBelow(base);
    rmSync(base, { recursive: true, force: true });
  }
}

function mountsOf(scenario: Scenario, index: number, host: Host): Mount[] {
  return scenario.mounts.map(({ at, from, readonly, recursiveReadOnly, hostToContainer }) =>
    Mount.fromPartial({
      containerPath: join(placeOf(index), at),
      hostPath: host.at(from),
      readonly: readonly === true,
      recursiveReadOnly: recursiveReadOnly === true,
      propagation: hostToContainer
        ? MountPropagation.PROPAGATION_HOST_TO_CONTAINER
        : MountPropagation.PROPAGATION_PRIVATE,
    }),
  );
}

function syncMount(base: string): Mount {
  return Mount.fromPartial({ containerPath: '/sync', hostPath: join(base, 'sync'), readonly: true });
}

function unmountBelow(base: string): void {
  const targets = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((target) => target === base || target.startsWith(`${base}/`));
  for (const target of targets.reverse()) execFileSync('umount', ['-l', target]);
}

/** runC itself, on this host, with the spec that a native pod would have. */
export function byRunc(folder: string): RunContainer {
  let count = 0;
  return async (script, mounts, ready) => {
    count += 1;
    const id = `husk-compat-${process.pid}-${count}`;
    const bundle = join(folder, id);
    mkdirSync(join(bundle, 'rootfs'), { recursive: true });
    mkdirSync(join(bundle, 'shm'));
    execFileSync('tar', ['-x', '-C', join(bundle, 'rootfs')], { input: busyboxTar() });
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(runcSpec(id, bundle, { script, mounts })));
    const child = spawn('runc', ['--root', join(folder, 'state'), 'run', '--bundle', bundle, id]);
    return outputOf(child, ready);
  };
}

function runcSpec(id: string, bundle: string, asked: { script: string; mounts: readonly Mount[] }): OciSpec {
  const image = { env: ['PATH=/bin'], workingDir: '', entrypoint: [], cmd: [] };
  const spec = buildSpec({ containerId: id, config: shell('x', asked.script), image, hostname: 'compat' });
  const namespaces = [
    ...spec.linux.namespaces,
    { type: 'network' as const },
    { type: 'ipc' as const },
    { type: 'uts' as const },
  ];
  const complete = completeSpec(
    { ...spec, hostname: 'compat', linux: { ...spec.linux, namespaces } },
    {
      user: { uid: 0, gid: 0, supplementalGroups: [], home: '/root' },
      rootfs: join(bundle, 'rootfs'),
      hostnameFile: '',
      resolvConfFile: '',
      shmFolder: join(bundle, 'shm'),
      files: [],
      mounts: asked.mounts.map(runcMount),
    },
  );
  // runC wants it for a mount that follows the host.
  const process = { ...complete.process, rlimits: [] };
  return { ...complete, process, linux: { ...complete.linux, rootfsPropagation: 'rslave' } as OciSpec['linux'] };
}

function runcMount({ containerPath, hostPath, readonly, recursiveReadOnly, propagation }: Mount): OciMount {
  const slave = propagation === MountPropagation.PROPAGATION_HOST_TO_CONTAINER;
  const options = [
    'rbind',
    slave ? 'rslave' : 'rprivate',
    readonly ? 'ro' : 'rw',
    ...(recursiveReadOnly ? ['rro'] : []),
  ];
  return { destination: containerPath, type: 'bind', source: realpathSync(hostPath), options };
}

async function outputOf(child: ReturnType<typeof spawn>, ready: (() => Promise<void>) | undefined): Promise<string> {
  let output = '';
  let told = false;
  const timer = setTimeout(() => child.kill('SIGKILL'), endMs);
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const take = (chunk: Buffer): void => {
    output += chunk.toString('latin1');
    if (!told && output.includes('== wait\n')) {
      told = true;
      ready?.().catch(reject);
    }
  };
  child.stdout?.on('data', take);
  child.stderr?.on('data', take);
  child.on('error', reject);
  child.on('close', () => resolve(output));
  return promise.finally(() => clearTimeout(timer));
}

/** A pod of the daemon. */
export function inPod(
  daemon: Daemon,
  image: string,
  runtimeHandler: string,
): { readonly run: RunContainer; remove(): Promise<void> } {
  const pod = runPod(daemon, {}, runtimeHandler);
  pod.catch(() => undefined);
  const runContainer: RunContainer = async (script, mounts, ready) => {
    const made = await pod;
    const config = shell(image, script, { mounts });
    const containerId = await startContainer(daemon, made, config);
    const path = join(made.config.logDirectory, config.logPath);
    const saw = (line: string): boolean => textIn(path).endsWith(`${line}\n`);
    await until(() => ready === undefined || saw('== wait'), daemon, path);
    await ready?.();
    await until(() => saw('== end'), daemon, path);
    await daemon.cri.stopContainer({ containerId, timeout: 0n });
    await daemon.cri.removeContainer({ containerId });
    return logContent(readFileSync(path, 'latin1'));
  };
  const remove = async (): Promise<void> => {
    const { id: podSandboxId } = await pod;
    await daemon.cri.stopPodSandbox({ podSandboxId });
    await daemon.cri.removePodSandbox({ podSandboxId });
  };
  return { run: runContainer, remove };
}

function textIn(path: string): string {
  try {
    return logContent(readFileSync(path, 'latin1'));
  } catch {
    return '';
  }
}

async function until(done: () => boolean, daemon: Daemon, path: string): Promise<void> {
  for (const end = performance.now() + endMs; !done(); await sleep(200)) {
    if (performance.now() > end)
      throw new Error(
        `the container stopped at ${textIn(path).slice(-600)}; the daemon: ${(await daemon.log()).slice(-1500)}`,
      );
  }
}
