/**
 * The language of husk-exec (guest-agent/c/exec): requests to start a process in a container,
 * and their answers. The program's head comment is its definition. Pure.
 */
import { HuskError } from '../../src/base/errors.ts';
import { allCapabilities } from '../../src/oci/capabilities.ts';
import type { OciProcess, OciSpec } from '../../src/oci/runtime-spec.ts';
import { framed } from './framed-child.ts';

/** The program takes no larger request. */
export const maxRequestBytes = 4 * 1024 * 1024;
export const maxAnswerBytes = 2048;

/** Numbers of getrlimit(2) on x86-64. */
const limitNumbers: ReadonlyMap<string, number> = new Map(
  [
    ...['CPU', 'FSIZE', 'DATA', 'STACK', 'CORE', 'RSS', 'NPROC', 'NOFILE', 'MEMLOCK', 'AS', 'LOCKS'],
    ...['SIGPENDING', 'MSGQUEUE', 'NICE', 'RTPRIO', 'RTTIME'],
  ].map((name, number) => [`RLIMIT_${name}`, number]),
);

/** Names that /proc/PID/ns gives to the namespaces of a spec. */
const namespaceFiles: Readonly<Record<string, string>> = {
  pid: 'pid',
  network: 'net',
  mount: 'mnt',
  ipc: 'ipc',
  uts: 'uts',
  cgroup: 'cgroup',
};

/** A container as an exec finds it. */
export interface ExecTarget {
  /** The container's id in the OCI runtime. */
  readonly id: string;
  /** Its first process, with the start time that tells it from a later one of the same pid. */
  readonly pid: number;
  readonly startTicks: string;
  readonly spec: OciSpec;
  /** File with the seccomp filter that the OCI runtime made; undefined without one. */
  readonly filter: string | undefined;
  /** The container's id in the name of its session keyring, where it is not that of the runtime. */
  readonly keyring?: string;
}

export interface ExecWish {
  readonly process: OciProcess;
  /** Directory of an existing cgroup below the container's. */
  readonly cgroup: string;
  /** Descriptors of the agent; -1 is /dev/null. */
  readonly streams: readonly [number, number, number];
  /** Path of a socket that takes the terminal's other end, as runC's --console-socket does. */
  readonly consoleSocket?: string;
}

/**
 * Whether husk-exec can start processes in such a container. It knows neither user namespaces nor
 * security modules; the OCI runtime does.
 */
export function canJoin(spec: OciSpec): boolean {
  const { apparmorProfile, selinuxLabel } = spec.process;
  const known = spec.linux.namespaces.every(({ type }) => type in namespaceFiles);
  return known && (apparmorProfile ?? '') === '' && (selinuxLabel ?? '') === '';
}

/**
 * @throws HuskError `invalid-argument` for a NUL inside a text, an unknown limit, or too much of it
 */
export function encodeExec(id: number, target: ExecTarget, wish: ExecWish): Buffer {
  const spaces = target.spec.linux.namespaces.map(({ type }) => namespaceFiles[type]);
  return encode([
    ['id', String(id)],
    ...targetTexts(target),
    ['namespaces', spaces.join(',')],
    ['cgroup', wish.cgroup],
    ...(target.filter === undefined ? [] : [['filter', target.filter] as const]),
    ...(wish.consoleSocket === undefined ? [] : [['console', wish.consoleSocket] as const]),
    ['streams', wish.streams.join(':')],
    ...processTexts(target.keyring ?? target.id, target.spec, wish.process),
  ]);
}

/** What the first process of a prepared container becomes. @param bpf its seccomp filter in hexadecimal digits */
export function encodeStage(id: string, spec: OciSpec, bpf: string | undefined): Buffer {
  return encode([...(bpf === undefined ? [] : [['bpf', bpf] as const]), ...processTexts(id, spec, spec.process)]);
}

function processTexts(id: string, spec: OciSpec, process: OciProcess): (readonly [string, string])[] {
  const { user } = process;
  return [
    ['session', `_ses.${id}`],
    ['oom', String(spec.process.oomScoreAdj ?? 0)],
    ['cwd', process.cwd],
    ['uid', String(user.uid)],
    ['gid', String(user.gid)],
    ...user.additionalGids.map((group) => ['group', String(group)] as const),
    ['capabilities', capabilityMasks(process)],
    ['nonewprivs', process.noNewPrivileges ? '1' : '0'],
    ...process.rlimits.map((limit) => ['limit', limitText(limit)] as const),
    ...process.args.map((arg) => ['arg', arg] as const),
    ...environment(process.env).map((entry) => ['env', entry] as const),
  ];
}

/** Asks for the container's seccomp filter in a new file. */
export function encodeKeep(id: number, target: Pick<ExecTarget, 'pid' | 'startTicks'>, path: string): Buffer {
  return encode([['id', String(id)], ...targetTexts(target), ['keep', path]]);
}

export interface ExecAnswer {
  readonly id: number;
  readonly outcome: { readonly pid: number } | { readonly error: string };
}

/** @throws HuskError `data-loss` when the bytes are no answer */
export function decodeExecAnswer(body: Buffer): ExecAnswer {
  const match = /^id=([0-9]{1,15})\0(pid|error)=([^\0]*)\0$/.exec(body.toString('utf8'));
  const [, id, key, text = ''] = match ?? [];
  if (key === 'error') return { id: Number(id), outcome: { error: text } };
  if (key === 'pid' && /^[0-9]{1,10}$/.test(text)) return { id: Number(id), outcome: { pid: Number(text) } };
  throw new HuskError('data-loss', `husk-exec answer: ${body.length} bytes that are none`);
}

/** As runC sets them one by one: a later value of a name takes the place of the earlier one. */
function environment(env: readonly string[]): string[] {
  const byName = new Map<string, string>();
  for (const entry of env) byName.set(entry.slice(0, entry.indexOf('=')), entry);
  return [...byName.values()];
}

function targetTexts({ pid, startTicks }: Pick<ExecTarget, 'pid' | 'startTicks'>): (readonly [string, string])[] {
  return [
    ['pid', String(pid)],
    ['start', startTicks],
  ];
}

/** Five masks: bounding, effective, permitted, inheritable, ambient. Names that Linux does not have count for nothing. */
function capabilityMasks({ capabilities }: OciProcess): string {
  const { bounding, effective, permitted, inheritable, ambient } = capabilities;
  const mask = (names: readonly string[]): string => {
    const bits = names.map((name) => BigInt(allCapabilities.indexOf(name))).filter((bit) => bit >= 0n);
    return bits.reduce((sum, bit) => sum | (1n << bit), 0n).toString(16);
  };
  return [bounding, effective, permitted, inheritable, ambient].map(mask).join(':');
}

function limitText({ type, soft, hard }: OciProcess['rlimits'][number]): string {
  const number = limitNumbers.get(type);
  if (number === undefined) throw new HuskError('invalid-argument', `rlimit "${type.slice(0, 40)}": Linux has none`);
  return `${number}:${soft}:${hard}`;
}

function encode(texts: readonly (readonly [string, string])[]): Buffer {
  const nul = texts.find(([, value]) => value.includes('\0'));
  if (nul !== undefined) {
    throw new HuskError('invalid-argument', `husk-exec "${nul[0]}" ${JSON.stringify(nul[1])}: holds a NUL character`);
  }
  const body = Buffer.from(texts.map(([key, value]) => `${key}=${value}\0`).join(''));
  if (body.length <= maxRequestBytes) return framed(body);
  throw new HuskError('resource-exhausted', `husk-exec request: ${body.length} bytes, at most ${maxRequestBytes}`);
}
