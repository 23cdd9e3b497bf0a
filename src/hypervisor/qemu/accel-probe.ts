/** Which accelerator really runs a guest here. */
import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../base/atomic-file.ts';
import { withDeadline } from '../../base/deadline.ts';
import { HuskError } from '../../base/errors.ts';
import { launchJailed } from '../../jail/launcher.ts';
import { fileFds, probeArgv } from './argv.ts';
import { type QemuHost, vmRef } from './host.ts';
import { QmpClient } from './qmp-client.ts';
import { asRecord } from './qmp-codec.ts';
import { QemuVm } from './vm.ts';

export interface Acceleration {
  readonly accelerator: 'kvm' | 'tcg';
  readonly reason: string;
}

/** With hardware a kernel without a root reaches its panic in well under a second. */
const probeTimeoutMs = 8_000;

type ProbeHost = Pick<QemuHost, 'options' | 'root' | 'guest'>;

/**
 * Chooses the accelerator. KVM counts only if the guest's kernel boots on it within seconds: some
 * hosts have a /dev/kvm that opens, makes a VM, and then emulates every instruction.
 *
 * @throws HuskError `failed-precondition` when KVM was asked for by name and does not work
 */
export async function chooseAccelerator(host: ProbeHost, signal?: AbortSignal): Promise<Acceleration> {
  const { accel } = host.options;
  if (accel === 'tcg') return { accelerator: 'tcg', reason: 'configured' };
  const failure = await remembered(host, () => kvmFailure(host, signal));
  if (failure === undefined) return { accelerator: 'kvm', reason: 'a guest kernel booted on KVM' };
  if (accel === 'auto') return { accelerator: 'tcg', reason: failure };
  throw new HuskError('failed-precondition', `use KVM: ${failure}`, { hint: 'set accel to auto or tcg' });
}

/** Whether the processor has what runs a guest in hardware: Intel's VMX or AMD's SVM (proc_cpuinfo(5)). Pure. */
export function virtualisesInHardware(cpuinfo: string): boolean {
  return /^flags\s*:(?:.*\s)?(?:vmx|svm)(?:\s|$)/m.test(cpuinfo);
}

async function kvmFailure(host: ProbeHost, signal: AbortSignal | undefined): Promise<string | undefined> {
  try {
    await (await open('/dev/kvm', 'r+')).close();
  } catch (caught) {
    return `/dev/kvm does not open: ${HuskError.from(caught).message}`;
  }
  // Saves the seconds of a boot that cannot work.
  if (!virtualisesInHardware(await readFile('/proc/cpuinfo', 'utf8')))
    return '/proc/cpuinfo shows neither vmx nor svm: KVM has no hardware to run a stock kernel on';
  const id = 'accel-probe';
  const stateFolder = join(host.options.runFolder, id);
  await rm(stateFolder, { recursive: true, force: true });
  await mkdir(stateFolder, { recursive: true, mode: 0o700 });
  try {
    return await bootOnKvm(host, id, stateFolder, signal);
  } finally {
    await rm(stateFolder, { recursive: true, force: true });
  }
}

async function bootOnKvm(
  host: ProbeHost,
  id: string,
  stateFolder: string,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const { programs, templateUid: uid } = host.options;
  const process = await launchJailed(
    programs.jail,
    {
      stateFolder,
      root: host.root.path,
      uid,
      agentSocketUid: 0,
      netns: 'new',
      cgroupPaths: [],
      oomScoreAdj: 0,
      maxFileBytes: 2 ** 20,
      kvm: true,
      files: [{ fd: fileFds.kernel, path: host.guest.kernel }],
      command: probeArgv({ name: id, accelerator: 'kvm' }),
    },
    signal,
  );
  const ref = vmRef({ id, stateFolder }, process, 'cold-boot');
  const vm = new QemuVm(
    ref,
    process,
    { stateFolder, diskFolder: stateFolder },
    {
      ...host.options,
      sendfd: programs.sendfd,
      zeroFile: '',
    },
  );
  try {
    vm.qmp.execute([QmpClient.negotiation], probeTimeoutMs).catch(() => undefined);
    const end = await withDeadline('boot on KVM', probeTimeoutMs, signal, () => vm.exited);
    return end.reason === 'guest panic' ? undefined : `a guest kernel did not boot on KVM: ${end.reason}`;
  } catch (caught) {
    if (HuskError.from(caught).kind !== 'deadline-exceeded') throw caught;
    return `a guest kernel did not boot on KVM within ${probeTimeoutMs} ms`;
  } finally {
    await vm.destroy();
  }
}

/** The answer holds until the machine is restarted, or QEMU or the kernel change. */
async function remembered(host: ProbeHost, probe: () => Promise<string | undefined>): Promise<string | undefined> {
  const path = join(host.options.runFolder, 'accel.json');
  const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  const key = `${bootId} ${host.root.digest} ${host.guest.digest}`;
  const kept = asRecord(await readFile(path, 'utf8').then(JSON.parse, () => undefined));
  if (kept?.['key'] === key) return typeof kept['failure'] === 'string' ? kept['failure'] : undefined;
  const failure = await probe();
  await writeFileAtomic(path, JSON.stringify(failure === undefined ? { key } : { key, failure }), 0o600);
  return failure;
}

/** The processor, for the template's key. */
export async function processorName(): Promise<string> {
  const text = await readFile('/proc/cpuinfo', 'utf8');
  return /^model name\s*: (.*)$/m.exec(text)?.[1] ?? 'unknown';
}
