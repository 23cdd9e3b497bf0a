import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { HuskError } from '../base/errors.ts';
import { parseNetworkConfig } from './cni/config.ts';
import { asCidr } from './cni/result.ts';

/** The file that is made from a template; sorts before those that start with a letter. */
export const renderedName = '10-husk.conflist';

/**
 * Splits and checks the pod CIDR that a kubelet sends: one, or one per family with a comma between.
 *
 * @throws HuskError `invalid-argument`
 */
export function parsePodCidrs(text: string): string[] {
  return text.split(',').map((each) => asCidr(each.trim(), 'pod_cidr'));
}

/**
 * Fills in a template. Understood of containerd's `conf_template` language (Go text/template):
 * `{{.PodCIDR}}`, the first CIDR, and `{{range $i, $x := .PodCIDRRanges}}…{{end}}` over all of them or
 * over `.Routes`, the default routes, with `{{$x}}` and `{{if $i}}…{{end}}` within. Pure.
 *
 * @throws HuskError `invalid-argument` when anything else is found, or the outcome is no configuration
 */
export function renderTemplate(template: string, cidrs: readonly string[]): string {
  const routes = cidrs.map((cidr) => (cidr.includes(':') ? '::/0' : '0.0.0.0/0'));
  const lists: Readonly<Record<string, readonly string[]>> = { PodCIDRRanges: cidrs, Routes: routes };
  const range =
    /\{\{-?\s*range\s+\$(\w+),\s*\$(\w+)\s*:=\s*\.(PodCIDRRanges|Routes)\s*-?\}\}((?:\{\{-?\s*if\s+\$\w+\s*-?\}\}[^{}]*\{\{-?\s*end\s*-?\}\}|(?!\{\{-?\s*end)[\s\S])*)\{\{-?\s*end\s*-?\}\}/g;
  const text = template
    .replaceAll(range, (...match: string[]) => {
      const [, index = '', item = '', list = '', body = ''] = match;
      return (lists[list] ?? []).map((value, at) => renderItem(body, { index, item, value, at })).join('');
    })
    .replaceAll(/\{\{-?\s*\.PodCIDR\s*-?\}\}/g, cidrs[0] ?? '');
  const rest = /\{\{[^}]*\}\}?/.exec(text);
  if (rest !== null)
    throw new HuskError(
      'invalid-argument',
      `fill in CNI template: found "${rest[0].slice(0, 80)}", which is not understood`,
    );
  parseNetworkConfig(text);
  return text;
}

function renderItem(body: string, at: { index: string; item: string; value: string; at: number }): string {
  return body
    .replaceAll(
      new RegExp(`\\{\\{-?\\s*if\\s+\\$${at.index}\\s*-?\\}\\}([^{}]*)\\{\\{-?\\s*end\\s*-?\\}\\}`, 'g'),
      at.at === 0 ? '' : '$1',
    )
    .replaceAll(new RegExp(`\\{\\{-?\\s*\\$${at.item}\\s*-?\\}\\}`, 'g'), at.value);
}

/** Writes the configuration made from a template file. */
export async function writeFromTemplate(
  templateFile: string,
  configFolder: string,
  cidrs: readonly string[],
): Promise<void> {
  const template = await readFile(templateFile, 'utf8').catch((caught: unknown) => {
    throw new HuskError('failed-precondition', `read CNI template "${templateFile}": it failed`, {
      cause: caught,
      stage: 'pod-cidr',
    });
  });
  await writeFileAtomic(join(configFolder, renderedName), renderTemplate(template, cidrs), 0o644);
}
