/**
 * Sysctls of a pod: only those that belong to a namespace of the pod's own. Names and values
 * come from a narrow alphabet, so that nothing that reads them later can split one into two
 * (CVE-2022-0811), and none reaches the host (CVE-2022-0532).
 */
import { NamespaceMode, type NamespaceOption } from '../../gen/cri/v1/api.ts';
import { count, refuse, text } from './check.ts';
import { limits } from './limits.ts';

const name = {
  max: limits.sysctlChars,
  pattern: /^[a-z0-9_]+([./][A-Za-z0-9_-]+)+$/,
  wanted: 'a name such as "net.core.somaxconn"',
};
const value = { max: limits.sysctlChars, optional: true };
// A tab is what /proc shows between two numbers of one value.
const valuePattern = /^[A-Za-z0-9 \t.,:_/-]*$/;
const ipcNames = /^(kernel[./](shm\w+|msg\w+|sem)|fs[./]mqueue[./]\w+)$/;
const netNames = /^net[./]/;

/** @throws HuskError `invalid-argument` */
export function checkSysctls(
  path: string,
  sysctls: Readonly<Record<string, string>>,
  options: NamespaceOption | undefined,
): void {
  const entries = Object.entries(sysctls);
  count(path, entries.length, limits.sysctls);
  for (const [key, content] of entries) {
    text(`${path} key`, key, name);
    const at = `${path}["${key}"]`;
    if (content.length > value.max || !valuePattern.test(content)) {
      refuse(at, content, `wanted at most ${value.max} letters, digits and " .,:_/-"`);
    }
    if (netNames.test(key)) {
      if (options?.network === NamespaceMode.NODE) refuse(at, content, 'the pod shares the network of the host');
    } else if (ipcNames.test(key)) {
      if (options?.ipc === NamespaceMode.NODE) refuse(at, content, 'the pod shares the IPC namespace of the host');
    } else {
      refuse(
        at,
        content,
        'not of a namespace of the pod, wanted kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.*, net.*',
      );
    }
  }
}
