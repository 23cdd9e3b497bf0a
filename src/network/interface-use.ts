/** What the interfaces in pods' namespaces counted: one run of husk-netuse for all of them. */
import { run } from '../base/exec.ts';
import type { InterfaceUse } from '../base/interface-use.ts';

/** It only reads; this is for a host that hangs. */
const readMs = 5_000;

/**
 * Reads the counters of namespaces. One that is gone is not in the answer.
 *
 * @param program path of husk-netuse
 * @param leaveOut interfaces that are not the pod's own
 */
export async function readInterfaceUse(
  program: string,
  paths: readonly string[],
  leaveOut: readonly string[],
): Promise<Map<string, InterfaceUse[]>> {
  if (paths.length === 0) return new Map();
  const text = await run(program, [], { timeoutMs: readMs, input: paths.map((path) => `${path}\n`).join('') });
  return parseNetUse(text, leaveOut);
}

/** Exported for its test. */
export function parseNetUse(text: string, leaveOut: readonly string[]): Map<string, InterfaceUse[]> {
  const found = new Map<string, InterfaceUse[]>();
  for (const block of text.split('\n.\n')) {
    const [path = '', ...lines] = block.split('\n');
    if (lines.length === 0) continue;
    const interfaces = lines.flatMap(parseLine).filter(({ name }) => !leaveOut.includes(name));
    found.set(path, interfaces);
  }
  return found;
}

/** A line of /proc/net/dev: sixteen counters after the name (proc_net_dev(5)). */
function parseLine(line: string): InterfaceUse[] {
  const [, name, rest = ''] = /^ *([^ :]+): *([0-9][0-9 ]*)$/.exec(line) ?? [];
  if (name === undefined) return [];
  const counters = rest.trim().split(/ +/).map(BigInt);
  const at = (index: number): bigint => counters[index] ?? 0n;
  return [
    {
      ...{ name, rxBytes: at(0), rxPackets: at(1), rxErrors: at(2), rxDropped: at(3) },
      ...{ txBytes: at(8), txPackets: at(9), txErrors: at(10), txDropped: at(11) },
    },
  ];
}
