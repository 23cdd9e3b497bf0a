/** Command-line flags of huskd, made from the table of settings. */
import { Command } from 'commander';
import { settings } from './config.ts';

type Flags = Partial<Record<keyof typeof settings, string>>;

/**
 * Parses huskd's arguments. `--help` and `--version` print and end the process, a wrong flag
 * prints and ends it with code 2.
 */
export function parseFlags(argv: readonly string[], version: string): Flags {
  const command = new Command('huskd')
    .description('CRI runtime that gives every pod a virtual machine of its own')
    .version(version)
    .allowExcessArguments(false)
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));
  const keys = new Map<string, keyof typeof settings>();
  for (const [key, known] of Object.entries(settings)) {
    const option = command.createOption(
      `--${known.flag} <${known.value}>`,
      `${known.help} (default: ${inWords(known.fallback)})`,
    );
    command.addOption(option);
    keys.set(option.attributeName(), key as keyof typeof settings);
  }
  const given = command.parse([...argv], { from: 'user' }).opts<Record<string, string>>();
  const flags: Flags = {};
  for (const [name, value] of Object.entries(given)) {
    const key = keys.get(name);
    if (key !== undefined) flags[key] = value;
  }
  return flags;
}

/** A setting's value as it would be given. */
function inWords(value: boolean | number | string | readonly string[] | Readonly<Record<string, string>>): string {
  if (typeof value !== 'object') return String(value);
  if (value instanceof Array) return value.join(',');
  return Object.entries(value)
    .map(([name, each]) => `${name}=${each}`)
    .join(',');
}
