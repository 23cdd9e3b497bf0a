/**
 * Containers that the OCI runtime made before anybody asked: in the template, so that every clone
 * has them. Their first process is husk-exec, waiting; nothing of a tenant's is in them.
 */
import { statSync, writeFileSync, writeSync } from 'node:fs';
import { chmod, copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { describeError, HuskError } from '../../../src/base/errors.ts';
import type { Log } from '../../../src/base/log.ts';
import { op, type SysOp } from '../../../src/guest/sys-batch.ts';
import { allCapabilities, defaultCapabilities } from '../../../src/oci/capabilities.ts';
import type { OciSpec } from '../../../src/oci/runtime-spec.ts';
import { defaultSeccompProfile } from '../../../src/oci/seccomp.ts';
import { ExecCgroups } from '../cgroup.ts';
import { type Created, once as closing } from '../created.ts';
import { type ExecTarget, encodeStage } from '../exec-request.ts';
import { closeWriters, type OpenFifo } from '../fifos.ts';
import { OutputStream } from '../output-stream.ts';
import type { Pod } from '../pod.ts';
import { filterKey, type Plan, planFor, preparedSpec, stageProgram } from './plan.ts';
import { rehearse } from './rehearsal.ts';

/** A pod has one container, often with a sidecar. */
const wanted = 2;
const readyMs = 30_000;
/** What a FIFO takes at once: a larger request could wait for its reader. */
const maxStageBytes = 60 * 1024;

interface KeptFilter {
  readonly file: string;
  /** Its bytes, in hexadecimal: every clone has them in memory. */
  readonly digits: string;
}

interface Prepared extends Omit<Created, 'start' | 'streams'> {
  /** Standard output, standard error. */
  readonly fifos: readonly OpenFifo[];
  readonly control: number;
}

export class PreparedContainers {
  readonly #pod: Pod;
  readonly #log: Log;
  readonly #capabilities: readonly string[];
  readonly #ready: Prepared[] = [];
  /** Seccomp filters, by their profile. */
  readonly #filters = new Map<string, KeptFilter>();
  #count = 0;
  #filling: Promise<void> | undefined;

  /** @param capabilities of the waiting process: all, unless the machine has not all to give */
  constructor(pod: Pod, log: Log, capabilities = allCapabilities) {
    this.#pod = pod;
    this.#log = log;
    this.#capabilities = capabilities;
  }

  /** Makes them, until the pod is configured: then the processor is the tenant's. Never fails. */
  fill(): Promise<void> {
    this.#filling ??= this.#fill().catch((error: unknown) =>
      this.#log.warn({ error: describeError(error) }, 'no prepared containers'),
    );
    return this.#filling;
  }

  /** Resolves when `fill` has ended, if it was called. */
  async settled(): Promise<void> {
    await this.#filling;
  }

  /** Takes away those that were not used. */
  async close(): Promise<void> {
    for (const prepared of this.#ready.splice(0)) await this.#discard(prepared);
  }

  /**
   * Makes a prepared container this one. Undefined when there is none left, or the OCI runtime has to do it.
   *
   * @param spec complete; its root is mounted
   * @param more system calls to be made along with its mounts
   * @throws HuskError `unknown` in the words of `runc create`
   */
  async become(
    id: string,
    spec: OciSpec,
    more: (target: ExecTarget) => readonly SysOp[] = () => [],
  ): Promise<Created | undefined> {
    const plan = planFor(spec);
    const filter = plan?.filterKey === undefined ? undefined : this.#filters.get(plan.filterKey);
    if (plan === undefined || (plan.filterKey !== undefined && filter === undefined)) return undefined;
    const request = encodeStage(id, spec, filter?.digits);
    const prepared = request.length > maxStageBytes ? undefined : this.#ready.shift();
    if (prepared === undefined) return undefined;
    try {
      await this.#furnish(prepared, spec, plan, more(prepared.target));
    } catch (caught) {
      // A link where a mount point belongs, for one: the OCI runtime knows what to do, or to say.
      this.#log.info({ container: id, error: describeError(caught) }, 'prepared container does not fit');
      await this.#discard(prepared);
      return undefined;
    }
    try {
      await stage(prepared, request);
    } catch (caught) {
      await this.#discard(prepared);
      throw caught;
    }
    const { control, fifos, ...created } = prepared;
    const start = async (): Promise<void> => {
      writeSync(control, 'g');
      created.release();
    };
    const changed = (): void => this.#pod.events.changed();
    const [stdout, stderr] = fifos.map(({ output }) => new OutputStream(output, changed));
    if (stdout === undefined || stderr === undefined) throw new HuskError('internal', 'prepared container: no output');
    const streams = { stdout, stderr, input: undefined, console: undefined };
    return { ...created, streams, target: { ...created.target, spec, filter: filter?.file, keyring: id }, start };
  }

  async #fill(): Promise<void> {
    await this.#keepFilter();
    if (this.#pod.settings.template) await this.#rehearse();
    while (this.#ready.length < wanted && !this.#pod.configured) this.#ready.push(await this.#prepare());
  }

  async #rehearse(): Promise<void> {
    try {
      await rehearse(this.#pod, this.#log, async () => void this.#ready.push(await this.#prepare()));
      this.#log.info({}, 'rehearsed');
    } catch (caught) {
      // The clones will only be slower.
      this.#log.warn({ error: describeError(caught) }, 'no rehearsal');
    }
  }

  /** One container as the OCI runtime makes it, for its filter, and so that all it needs is in memory. */
  async #keepFilter(): Promise<void> {
    if (this.#pod.configured) return;
    const { folder, spec, id } = await this.#bundle();
    spec.linux.seccomp = defaultSeccompProfile(defaultCapabilities);
    await writeFile(`${folder}/config.json`, JSON.stringify(spec));
    const { settings, runtime } = this.#pod;
    try {
      const { filter } = await runtime.create(id, folder, { spec, stdio: ['ignore', 'ignore', 'ignore'] });
      const file = `${settings.stateDir}/filter`;
      if (filter !== undefined) {
        await copyFile(filter, file);
        this.#filters.set(filterKey(spec) ?? '', { file, digits: (await readFile(file)).toString('hex') });
      }
    } finally {
      await runtime.delete(id, folder, `${settings.cgroupRoot}${spec.linux.cgroupsPath}`);
      await rm(folder, { recursive: true, force: true });
    }
  }

  async #prepare(): Promise<Prepared> {
    const { fifos, runtime, exits, settings } = this.#pod;
    const { folder, spec, id } = await this.#bundle();
    const control = await fifos.openControl();
    const outputs = await fifos.open(2);
    const [out, err] = outputs.map(({ writeFd }) => writeFd);
    if (out === undefined || err === undefined) throw new HuskError('internal', 'prepare a container: no FIFOs');
    try {
      const { target, exit } = await exits.expect(async () => {
        const made = await runtime.create(id, folder, { spec, stdio: [control, out, err] });
        return { target: made, exit: exits.exitOf(made.pid) };
      });
      const ended = exit.then(() => undefined);
      await runtime.start(id, folder, ended);
      const cgroup = `${settings.cgroupRoot}${spec.linux.cgroupsPath}`;
      new ExecCgroups(cgroup).take();
      return { target, exit, fifos: outputs, release: closing(control), cgroup, bundle: folder, control };
    } finally {
      closeWriters(outputs);
    }
  }

  async #bundle(): Promise<{ folder: string; spec: OciSpec; id: string }> {
    const { settings } = this.#pod;
    this.#count += 1;
    const id = `prepared-${this.#count}`;
    const folder = `${settings.stateDir}/p/${this.#count}`;
    const rootfs = `${folder}/rootfs`;
    for (const path of ['proc', 'dev', 'sys', 'root'])
      await mkdir(`${rootfs}/${path}`, { recursive: true, mode: 0o755 });
    await copyFile(settings.execPath ?? '', rootfs + stageProgram);
    await chmod(rootfs + stageProgram, 0o500);
    const spec = preparedSpec(rootfs, `/pod/${id}`, this.#capabilities);
    await writeFile(`${folder}/config.json`, JSON.stringify(spec));
    return { folder, spec, id };
  }

  /** Root, mounts and limits; the process waits meanwhile. */
  async #furnish(
    { target, cgroup }: Prepared,
    spec: OciSpec,
    { binds, limits, readonlyRoot }: Plan,
    more: readonly SysOp[],
  ): Promise<void> {
    const pid = String(target.pid);
    const root = spec.root.path;
    const inRoot = binds.filter(({ target: path }) => !path.startsWith('/dev/'));
    await this.#pod.sys.run([
      ...['/proc', '/dev', '/sys'].map((path) => op('mkpoint', root, path, 'dir')),
      ...inRoot.map(({ source, target: path }) => op('mkpoint', root, path, kindOf(source))),
      op('takeroot', pid, root, spec.process.cwd),
      ...binds.map(({ source, target: path, flags }) => op('bindinto', pid, source, path, flags)),
      ...(readonlyRoot ? [op('sealroot', pid)] : []),
      ...more,
    ]);
    for (const [file, text] of limits) writeFileSync(`${cgroup}/${file}`, text);
  }

  async #discard({ target, cgroup, bundle, fifos, release }: Prepared): Promise<void> {
    release();
    for (const { output } of fifos) output.destroy();
    await this.#pod.runtime.delete(target.id, bundle, cgroup);
    await rm(bundle, { recursive: true, force: true });
  }
}

function kindOf(source: string): 'dir' | 'file' {
  return statSync(source).isDirectory() ? 'dir' : 'file';
}

/** Neither an AbortSignal nor a race of promises: each is much code, and a clone would run it here for the first time. */
function firstBytes(output: OpenFifo['output']): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const settle = (outcome: Buffer | HuskError): void => {
    clearTimeout(timer);
    output.off('close', gone);
    output.off('data', settle);
    if (outcome instanceof HuskError) reject(outcome);
    else resolve(outcome);
  };
  const gone = (): void => settle(new HuskError('unavailable', 'prepared container: ended without an answer'));
  const late = (): void =>
    settle(new HuskError('deadline-exceeded', `prepared container: no answer within ${readyMs} ms`));
  const timer = setTimeout(late, readyMs);
  output.once('close', gone);
  output.once('data', settle);
  output.resume();
  return promise;
}

/** Sends the request and waits for the one line of the answer. */
async function stage({ control, fifos }: Prepared, request: Buffer): Promise<void> {
  const [out] = fifos;
  if (out === undefined) throw new HuskError('internal', 'stage a container: no output');
  writeSync(control, request);
  const text = (await firstBytes(out.output)).toString('utf8');
  out.output.pause();
  if (text === 'ready\n') return;
  const why = `runc create failed: unable to start container process: ${text}`;
  throw new HuskError('unknown', `OCI runtime create: exit code 1: ${why}`, { stage: 'oci-runtime' });
}
