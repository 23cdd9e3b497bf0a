/** Versions of the programs that native pods need: floors are checked when the daemon starts. */
import { HuskError } from '../base/errors.ts';
import { run } from '../base/exec.ts';

const timeoutMs = 10_000;

/** Below these a program lacks what we rely on: `rro` mounts and `exec --cgroup`; conmon's `--full-attach`. */
const floors: Readonly<Record<string, string>> = { runc: '1.1.0', crun: '1.8', youki: '0.3.0', conmon: '2.1.0' };

/**
 * The releases in which runC closed ways out of a container by way of /dev/console, /dev/null and
 * /proc writes (CVE-2025-31133, CVE-2025-52565, CVE-2025-52881), by branch.
 */
const runcFixes: readonly string[] = ['1.2.8', '1.3.3', '1.4.0'];

export interface ProgramVersion {
  /** `runc`, `crun`...: what the program calls itself. */
  readonly name: string;
  readonly version: string;
  /** What the operator should know; empty when all is well. */
  readonly advice: string;
}

/**
 * Asks a program for its version and compares it with the floor.
 * @throws HuskError `failed-precondition` when it is missing, does not answer, or is too old
 */
export async function checkVersion(path: string): Promise<ProgramVersion> {
  let told: string;
  try {
    told = await run(path, ['--version'], { timeoutMs, stage: 'version' });
  } catch (cause) {
    throw new HuskError('failed-precondition', `native pods need "${path}": ${HuskError.from(cause).message}`, {
      cause,
      hint: 'install it, or name another in the configuration',
    });
  }
  return judgeVersion(path, told);
}

/** Reads the answer of `--version` and judges it. Pure. @throws HuskError `failed-precondition` */
export function judgeVersion(path: string, told: string): ProgramVersion {
  const match = /^(\S+) version:? v?(\d+(?:\.\d+){1,2})/m.exec(told);
  const [, name, version] = match ?? [];
  if (name === undefined || version === undefined) {
    throw new HuskError(
      'failed-precondition',
      `version of "${path}": found "${told.slice(0, 80).trim()}", wanted "NAME version N.N"`,
    );
  }
  const floor = floors[name];
  if (floor !== undefined && compare(version, floor) < 0) {
    throw new HuskError(
      'failed-precondition',
      `version of "${path}": found ${name} ${version}, wanted at least ${floor}`,
    );
  }
  return { name, version, advice: adviceFor(name, version) };
}

function adviceFor(name: string, version: string): string {
  const fixed = name !== 'runc' || runcFixes.some((fix) => isFixedBy(version, fix));
  if (fixed) return '';
  return `runc ${version} is older than ${runcFixes.join(', ')}: unless the distribution has patched it, CVE-2025-31133, CVE-2025-52565 and CVE-2025-52881 are open`;
}

/** A release holds the fix of its own branch, or comes from a later branch than all that were fixed. */
function isFixedBy(version: string, fix: string): boolean {
  const branch = (text: string): string => text.split('.').slice(0, 2).join('.');
  const newest = runcFixes.at(-1) ?? fix;
  return (branch(version) === branch(fix) && compare(version, fix) >= 0) || compare(version, newest) >= 0;
}

function compare(a: string, b: string): number {
  const [left, right] = [a.split('.').map(Number), b.split('.').map(Number)];
  for (let index = 0; index < 3; index += 1) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
