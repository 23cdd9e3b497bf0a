/** One running QEMU: its console, its layers, its end. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../base/atomic-file.ts';
import type { Clock } from '../../base/clock.ts';
import { withDeadline } from '../../base/deadline.ts';
import { HuskError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { mark, span } from '../../base/trace.ts';
import { jailFiles, jailMessages } from '../../jail/launcher.ts';
import { type JailedProcess, kill } from '../../jail/process.ts';
import type { BlockDevice, LayerFile, LayerRange, Vm, VmExit, VmRef } from '../hypervisor.ts';
import { consoleBytes, nodes } from './argv.ts';
import { LayersDisk, layersDiskFiles } from './layers-disk.ts';
import { QmpClient, type QmpEvent } from './qmp-client.ts';
import { textField } from './qmp-codec.ts';
import { plugDisk, resizeDisk } from './volume-disks.ts';

export interface VmTools {
  readonly sendfd: string;
  readonly zeroFile: string;
  readonly clock: Clock;
  readonly log: Log;
}

const consoleTimeoutMs = 2_000;
const goneTimeoutMs = 10_000;
/** It is done within a millisecond; a VM that is stuck is ended instead. */
const cutOffMs = 1_000;
/** Enough for a kernel's last words. */
const tailChars = 8_192;

export const dataDiskName = 'data.img';
/** Says where the disk lies, for a daemon that knows the VM by its reference alone. */
export const diskFolderName = 'vm.disk';

/** Names of the files that a VM leaves in its state folder and its disk folder. */
const stateFiles = [...Object.values(jailFiles), ...layersDiskFiles, diskFolderName, 'console.log'];

/** The files of a VM, by folder; absent ones are fine. */
export async function removeVmFiles(folders: { stateFolder: string; diskFolder: string }): Promise<void> {
  const paths = stateFiles.map((name) => join(folders.stateFolder, name));
  await Promise.all([...paths, join(folders.diskFolder, dataDiskName)].map((path) => rm(path, { force: true })));
}

export class QemuVm implements Vm {
  readonly ref: VmRef;
  readonly exited: Promise<VmExit>;
  readonly qmp: QmpClient;
  /** Resolves when the guest runs: after a clone's state was read. */
  readonly resumed: Promise<void>;
  readonly #process: JailedProcess;
  readonly #folders: { readonly stateFolder: string; readonly diskFolder: string };
  readonly #log: Log;
  readonly #layers: LayersDisk;
  readonly #onResume: () => void;
  readonly #sendfd: string;
  #consoleTail = '';
  #reason: string | undefined;
  #ending = false;

  constructor(
    ref: VmRef,
    process: JailedProcess,
    folders: { stateFolder: string; diskFolder: string },
    tools: VmTools,
  ) {
    this.ref = ref;
    this.#sendfd = tools.sendfd;
    this.#process = process;
    this.#folders = folders;
    this.#log = tools.log.child({ vm: ref.id });
    const resumed = Promise.withResolvers<void>();
    this.resumed = resumed.promise;
    this.#onResume = resumed.resolve;
    this.qmp = new QmpClient(ref.qmpSocket, { clock: tools.clock, onEvent: (event) => this.#event(event) });
    const layers = {
      sendfd: tools.sendfd,
      fdSocket: ref.fdSocket,
      stateFolder: folders.stateFolder,
      zeroFile: tools.zeroFile,
    };
    this.#layers = new LayersDisk(layers, () => this.qmp);
    void this.qmp.closed.then((reason) => this.#channelLost(reason));
    this.exited = process.exited.then((end) => this.#exit(end));
  }

  /** After a restart of the daemon: what is on the layers disk, and whether the guest has ended meanwhile. */
  async recover(): Promise<void> {
    const [, status] = await this.qmp.execute(
      [QmpClient.negotiation, { name: 'query-status', args: undefined }],
      goneTimeoutMs,
    );
    await this.#layers.recover();
    const state = textField(status, 'status');
    if (state === 'shutdown' || state === 'guest-panicked') await this.#guestEnded(undefined);
  }

  attachLayers(layers: readonly LayerFile[], signal?: AbortSignal): Promise<LayerRange[]> {
    return this.#layers.attach(layers, signal);
  }

  attachBlock(device: BlockDevice, signal?: AbortSignal): Promise<string> {
    return plugDisk(this.qmp, { sendfd: this.#sendfd, fdSocket: this.ref.fdSocket }, device, signal);
  }

  async cutOff(): Promise<void> {
    await this.qmp.execute([{ name: 'set_link', args: { name: nodes.network, up: false } }], cutOffMs);
  }

  resizeBlock(serial: string, sizeBytes: number): Promise<number> {
    return resizeDisk(this.qmp, serial, sizeBytes);
  }

  async consoleTail(): Promise<string> {
    await this.#readConsole();
    return this.#consoleTail || this.#keptConsole();
  }

  async destroy(): Promise<void> {
    this.#ending = true;
    kill(this.#process);
    await span('process gone', () =>
      withDeadline(`end of VM process ${this.ref.pid}`, goneTimeoutMs, undefined, () => this.exited),
    );
    this.qmp.close();
    await span('files gone', () => removeVmFiles(this.#folders));
  }

  /** Lets go of the control channel; the VM runs on. */
  release(): void {
    this.qmp.close();
  }

  #event(event: QmpEvent): void {
    if (event.name === 'RESUME') {
      mark('incoming_done');
      this.#onResume();
    }
    if (event.name === 'SHUTDOWN' || event.name === 'GUEST_PANICKED') {
      void this.#guestEnded(textField(event.data, 'reason'));
    }
  }

  /** The stopped process still holds the console: read it, then end it. */
  async #guestEnded(reason: string | undefined): Promise<void> {
    await this.#readConsole();
    const panicked = this.#consoleTail.includes('Kernel panic');
    // The kernels that are used reset on a panic, so only the console tells the two apart.
    this.#reason ??= panicked ? 'guest panic' : reason === 'guest-reset' ? 'guest reset' : 'guest power off';
    kill(this.#process);
  }

  /** A QEMU that cannot be controlled is not left running. */
  #channelLost(reason: HuskError): void {
    if (this.#ending || reason.kind === 'cancelled') return;
    if (reason.kind === 'data-loss') this.#reason ??= `control channel: ${reason.message}`;
    kill(this.#process);
  }

  async #exit(end: string): Promise<VmExit> {
    this.qmp.close();
    const messages = (await jailMessages(this.#folders.stateFolder)).trim();
    const reason =
      this.#reason ?? (messages === '' || end.startsWith('signal') ? end : `${end}: ${lastLine(messages)}`);
    const consoleTail = this.#consoleTail || (await this.#keptConsole());
    this.#log.debug({ reason }, 'VM process ended');
    return { reason, consoleTail };
  }

  async #readConsole(): Promise<void> {
    try {
      const [encoded] = await this.qmp.execute(
        [{ name: 'ringbuf-read', args: { device: nodes.console, size: consoleBytes, format: 'base64' } }],
        consoleTimeoutMs,
      );
      if (typeof encoded !== 'string') return;
      this.#consoleTail = (this.#consoleTail + plainText(Buffer.from(encoded, 'base64'))).slice(-tailChars);
      await writeFileAtomic(this.ref.consoleLog, this.#consoleTail, 0o600);
    } catch (caught) {
      this.#log.debug({ err: caught }, 'console not readable');
    }
  }

  #keptConsole(): Promise<string> {
    return readFile(this.ref.consoleLog, 'utf8').catch(() => '');
  }
}

/** The guest writes what it likes: only lines of visible ASCII reach a log or a terminal. */
export function plainText(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString('latin1')
    .replaceAll(/\x1b(\[[0-9;?]*[A-Za-z]|[A-Za-z])/g, '')
    .replaceAll('\r', '')
    .replaceAll(/[^\x20-\x7e\n\t]/g, '?');
}

function lastLine(text: string): string {
  return plainText(Buffer.from(text)).trim().split('\n').at(-1)?.slice(0, 400) ?? '';
}
