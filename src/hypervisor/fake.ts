/** A hypervisor without virtual machines, for tests: the same contract, nothing behind it. */
import { HuskError } from '../base/errors.ts';
import type {
  BlockDevice,
  Hypervisor,
  HypervisorInfo,
  LayerFile,
  LayerRange,
  Stamp,
  Vm,
  VmConfig,
  VmExit,
  VmRef,
} from './hypervisor.ts';

const alignBytes = 1024 * 1024;

class FakeVm implements Vm {
  readonly ref: VmRef;
  readonly exited: Promise<VmExit>;
  readonly #end: (exit: VmExit) => void;
  readonly #layers = new Map<string, LayerRange>();
  #alive = true;
  #nextOffset = 0;

  constructor(ref: VmRef) {
    this.ref = ref;
    const { promise, resolve } = Promise.withResolvers<VmExit>();
    this.exited = promise;
    this.#end = resolve;
  }

  attachLayers(layers: readonly LayerFile[]): Promise<LayerRange[]> {
    if (!this.#alive)
      return Promise.reject(new HuskError('unavailable', `attach layers to VM "${this.ref.id}": it has ended`));
    return Promise.resolve(layers.map((layer) => this.#place(layer)));
  }

  attachBlock({ path }: BlockDevice): Promise<string> {
    if (this.#alive) return Promise.resolve(`disk-${path.length}`);
    return Promise.reject(new HuskError('unavailable', `plug a disk into VM "${this.ref.id}": it has ended`));
  }

  cutOff(): Promise<void> {
    if (this.#alive) return Promise.resolve();
    return Promise.reject(new HuskError('unavailable', `cut off VM "${this.ref.id}": it has ended`));
  }

  resizeBlock(_serial: string, sizeBytes: number): Promise<number> {
    return Promise.resolve(sizeBytes);
  }

  consoleTail(): Promise<string> {
    return Promise.resolve('');
  }

  destroy(): Promise<void> {
    this.end('signal 9');
    return Promise.resolve();
  }

  /** The guest ends by itself. */
  end(reason: string): void {
    this.#alive = false;
    this.#end({ reason, consoleTail: '' });
  }

  get alive(): boolean {
    return this.#alive;
  }

  #place(layer: LayerFile): LayerRange {
    const known = this.#layers.get(layer.path);
    if (known !== undefined) return known;
    const range = { offsetBytes: this.#nextOffset, sizeBytes: layer.sizeBytes };
    this.#nextOffset += Math.ceil(layer.sizeBytes / alignBytes) * alignBytes;
    this.#layers.set(layer.path, range);
    return range;
  }
}

export class FakeHypervisor implements Hypervisor {
  /** Every VM that was started, by id. */
  readonly vms = new Map<string, FakeVm>();
  readonly #templates = new Set<string>();
  #nextPid = 100_000;

  info(): HypervisorInfo {
    return { accelerator: 'tcg', acceleratorReason: 'nothing is emulated: this is a fake', version: '0.0.0' };
  }

  prepareTemplate(size: { readonly vcpus: number; readonly memoryMiB: number }): Promise<void> {
    this.#templates.add(`${size.vcpus} ${size.memoryMiB}`);
    return Promise.resolve();
  }

  launch(config: VmConfig, stamp: Stamp, signal?: AbortSignal): Promise<Vm> {
    if (signal?.aborted)
      return Promise.reject(new HuskError('cancelled', `start VM "${config.id}": cancelled by the caller`));
    const at = (name: string): string => `${config.stateFolder}/${name}`;
    const vm = new FakeVm({
      id: config.id,
      pid: this.#nextPid++,
      startTicks: '1',
      qmpSocket: at('qmp.sock'),
      agentSocket: at('agent.sock'),
      fdSocket: at('fds.sock'),
      consoleLog: at('console.log'),
      origin: this.#templates.has(`${config.vcpus} ${config.memoryMiB}`) ? 'clone' : 'cold-boot',
    });
    this.vms.set(config.id, vm);
    stamp('vm-running');
    return Promise.resolve(vm);
  }

  reattach(ref: VmRef): Promise<Vm | undefined> {
    const vm = this.vms.get(ref.id);
    return Promise.resolve(vm?.alive && vm.ref.pid === ref.pid ? vm : undefined);
  }

  sweep(id: string): Promise<void> {
    this.vms.get(id)?.end('signal 9');
    this.vms.delete(id);
    return Promise.resolve();
  }
}
