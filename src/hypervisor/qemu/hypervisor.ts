/** The hypervisor over QEMU. */
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { withDeadline } from '../../base/deadline.ts';
import { describeError, HuskError } from '../../base/errors.ts';
import { jailFiles } from '../../jail/launcher.ts';
import { type HeldMemory, releaseHolder } from '../../jail/memfd.ts';
import { allGone, isAlive, kill, processesWithArgument, watchStranger } from '../../jail/process.ts';
import type { Hypervisor, HypervisorInfo, Stamp, Vm, VmConfig, VmRef } from '../hypervisor.ts';
import { buildTemplate, type TemplateSize } from '../template/build.ts';
import { templateKey } from '../template/key.ts';
import { TemplateStore } from '../template/store.ts';
import { chooseAccelerator, processorName } from './accel-probe.ts';
import { zeroFile } from './data-disk.ts';
import { readGuestImage } from './guest-image.ts';
import { argvOn, processName, type QemuHost, type QemuOptions } from './host.ts';
import { launchVm } from './launch.ts';
import { prepareRuntimeRoot } from './runtime-root.ts';
import { diskFolderName, QemuVm, removeVmFiles } from './vm.ts';

const sweepTimeoutMs = 10_000;

/** A hypervisor whose open files can be let go; VMs and templates stay. */
export interface QemuHypervisor extends Hypervisor {
  /** @param templates `release` ends the processes that hold template memory; the copies on disk stay */
  close(templates?: 'keep' | 'release'): Promise<void>;
}

/**
 * Makes ready what all launches share: the program's root, the accelerator, the guest image.
 *
 * @throws HuskError `failed-precondition` when QEMU is missing or too old, the guest image is not
 *   there, or KVM was asked for and does not work
 */
export async function createQemuHypervisor(options: QemuOptions, signal?: AbortSignal): Promise<QemuHypervisor> {
  await mkdir(options.dataFolder, { recursive: true, mode: 0o700 });
  for (const name of ['roots', 'templates', 'disks']) {
    await mkdir(join(options.dataFolder, name), { recursive: true, mode: 0o700 });
  }
  await mkdir(options.runFolder, { recursive: true, mode: 0o711 });
  const guest = await readGuestImage(options.guestImageFolder);
  const root = await prepareRuntimeRoot({ folder: join(options.dataFolder, 'roots'), qemu: options.qemu, signal });
  const { accelerator, reason } = await chooseAccelerator({ options, root, guest }, signal);
  options.log.info({ accelerator, reason, qemu: root.version }, 'hypervisor ready');
  const zeros = await zeroFile(join(options.dataFolder, 'disks'));
  const host: QemuHost = { options, root, guest, accelerator, zeroFile: zeros };
  const info = { accelerator, acceleratorReason: reason, version: root.version };
  return new Qemu(host, info, await processorName());
}

class Qemu implements QemuHypervisor {
  readonly #host: QemuHost;
  readonly #info: HypervisorInfo;
  readonly #processor: string;
  readonly #store: TemplateStore;
  readonly #ready = new Map<string, HeldMemory>();
  readonly #preparing = new Map<string, Promise<void>>();
  /** QEMU serves one connection at a time, so one object per VM. */
  readonly #live = new Map<string, QemuVm>();

  constructor(host: QemuHost, info: HypervisorInfo, processor: string) {
    this.#host = host;
    this.#info = info;
    this.#processor = processor;
    const { options } = host;
    const folder = join(options.dataFolder, 'templates');
    this.#store = new TemplateStore({ folder, memfd: options.programs.memfd, log: options.log });
  }

  info(): HypervisorInfo {
    return this.#info;
  }

  prepareTemplate(size: TemplateSize, signal?: AbortSignal): Promise<void> {
    if (!this.#host.options.template) return Promise.resolve();
    const key = this.#key(size);
    if (this.#ready.has(key)) return Promise.resolve();
    const running = this.#preparing.get(key);
    if (running !== undefined) return running;
    const work = this.#prepare(key, size, signal).finally(() => this.#preparing.delete(key));
    this.#preparing.set(key, work);
    return work;
  }

  async launch(config: VmConfig, stamp: Stamp, signal?: AbortSignal): Promise<Vm> {
    const key = this.#key(config);
    const held = this.#ready.get(key);
    const template = held && { held, disk: this.#store.disk(key) };
    if (held === undefined)
      return this.#keep(await launchVm(this.#host, config, { template: undefined, stamp, signal }));
    try {
      return this.#keep(await launchVm(this.#host, config, { template, stamp, signal }));
    } catch (caught) {
      if (!/load of migration failed|is not sealed|inherited descriptor/.test(describeError(caught))) throw caught;
      this.#host.options.log.warn({ key, err: caught }, 'template does not work: cold boot; it will be built again');
      this.#ready.delete(key);
      await held[Symbol.asyncDispose]();
      await this.#store.discard(key);
      return this.#keep(await launchVm(this.#host, config, { template: undefined, stamp, signal }));
    }
  }

  async reattach(ref: VmRef): Promise<Vm | undefined> {
    if (!isAlive(ref)) return undefined;
    const live = this.#live.get(ref.id);
    if (live !== undefined && live.ref.pid === ref.pid) return live;
    const stateFolder = dirname(ref.consoleLog);
    const process = watchStranger({ pid: ref.pid, startTicks: ref.startTicks }, join(stateFolder, jailFiles.exit));
    const { options, zeroFile: zeros } = this.#host;
    const diskFolder = await readFile(join(stateFolder, diskFolderName), 'utf8').catch(() => stateFolder);
    const folders = { stateFolder, diskFolder };
    const vm = new QemuVm(ref, process, folders, { ...options, sendfd: options.programs.sendfd, zeroFile: zeros });
    try {
      await vm.recover();
    } catch (caught) {
      vm.release();
      throw HuskError.from(caught, 'reattach');
    }
    return this.#keep(vm);
  }

  async sweep(id: string, config: Pick<VmConfig, 'cgroupPaths' | 'stateFolder' | 'diskFolder'>): Promise<void> {
    // Keeper and program: both carry the whole argument vector.
    const found = processesWithArgument(`guest=${processName(id)},debug-threads=on`);
    for (const process of found) kill(process);
    await withDeadline(`end of the processes of VM "${id}"`, sweepTimeoutMs, undefined, () => allGone(found));
    await removeVmFiles(config);
  }

  async close(templates: 'keep' | 'release' = 'keep'): Promise<void> {
    for (const vm of this.#live.values()) vm.release();
    this.#live.clear();
    for (const held of this.#ready.values()) {
      await held[Symbol.asyncDispose]();
      if (templates === 'release') releaseHolder(held.holder);
    }
    this.#ready.clear();
  }

  #keep(vm: QemuVm): QemuVm {
    this.#live.set(vm.ref.id, vm);
    void vm.exited.then(() => {
      if (this.#live.get(vm.ref.id) === vm) this.#live.delete(vm.ref.id);
    });
    return vm;
  }

  async #prepare(key: string, size: TemplateSize, signal: AbortSignal | undefined): Promise<void> {
    const { options } = this.#host;
    const started = options.clock.monotonicMs();
    let held = await this.#store.find(key, signal);
    const built = held === undefined;
    if (held === undefined) {
      held = await buildTemplate(this.#host, { key, disk: this.#store.newDisk(key) }, size, signal);
      await this.#store.publish(key, held);
    }
    this.#ready.set(key, held);
    const ms = Math.round(options.clock.monotonicMs() - started);
    options.log.info({ key, ...size, built, ms }, 'template ready');
  }

  #key({ vcpus, memoryMiB, diskBytes }: TemplateSize): string {
    return templateKey({
      guestImage: this.#host.guest.digest,
      qemuVersion: this.#host.root.version,
      qemuDigest: this.#host.root.digest,
      accelerator: this.#host.accelerator,
      processor: this.#processor,
      diskBytes,
      argv: argvOn(this.#host, { name: 'template', vcpus, memoryMiB, mode: 'template' }),
    });
  }
}
