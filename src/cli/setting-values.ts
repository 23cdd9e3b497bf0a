/** How the text of a setting becomes its value. Pure. */
import { resolve } from 'node:path';
import { HuskError } from '../base/errors.ts';

/** As it is. */
export const text = (input: string): string => input;
/** A path, absolute from here on: programs run in other folders than huskd was started in. */
export const path = (input: string): string => resolve(input);
/** A UNIX socket's address holds 107 bytes (unix(7)), and the longest in this folder is `pods/ID/agent.sock`. */
const maxSocketFolder = 107 - '/pods//agent.sock'.length - 64;
export const socketFolder = (input: string): string => {
  const found = path(input);
  const bytes = Buffer.byteLength(found);
  if (bytes <= maxSocketFolder) return found;
  throw new HuskError(
    'invalid-argument',
    `"${found}": has ${bytes} bytes; sockets in it could not be named with more than ${maxSocketFolder}`,
  );
};
const list = (input: string): string[] => input.split(',').filter((part) => part !== '');
/** Paths with commas between them. */
export const paths = (input: string): string[] => list(input).map(path);
/** `true` or `false`. */
export const flag = (input: string): boolean => oneOf(['true', 'false'])(input) === 'true';
/** A whole number of the range. */
export const count =
  (least: number, most: number) =>
  (input: string): number => {
    const value = Number(input);
    if (/^\d{1,12}$/.test(input) && value >= least && value <= most) return value;
    throw new HuskError('invalid-argument', `"${input}": must be a whole number from ${least} to ${most}`);
  };
/** `native=FILE,native-NAME=FILE`: OCI runtimes by the handler that they are. */
export const handlerPaths = (input: string): Readonly<Record<string, string>> => {
  const pairs = list(input).map(
    (pair) => /^(native(?:-[a-z0-9][a-z0-9.-]{0,40})?)=(\/.+)$/.exec(pair)?.slice(1) ?? [pair],
  );
  for (const [name = '', path] of pairs) {
    if (path === undefined) {
      throw new HuskError('invalid-argument', `"${name}": must be "native" or "native-NAME", "=" and an absolute path`);
    }
  }
  return { native: '/usr/sbin/runc', ...(Object.fromEntries(pairs) as Record<string, string>) };
};
/** One of the words. */
export const oneOf =
  <const T extends string>(words: readonly T[]) =>
  (input: string): T => {
    const word = words.find((candidate) => candidate === input);
    if (word !== undefined) return word;
    throw new HuskError('invalid-argument', `"${input}": must be one of ${words.join(', ')}`);
  };
