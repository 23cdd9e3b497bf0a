/** Who a container runs as, from the text of the request and the image's /etc/passwd and /etc/group. Pure. */
import { HuskError } from '../base/errors.ts';
import type { ResolvedUser, User } from '../gen/agent/v1/agent.ts';

/** runC and crun take ids up to this; a larger one must never wrap to another id (CVE-2024-40635). */
const maxId = 2_147_483_647;

/** The image's files; undefined when absent or not to be trusted (too big, no regular file). */
export interface UserFiles {
  readonly passwd: string | undefined;
  readonly group: string | undefined;
}

export interface ProcessUser extends ResolvedUser {
  /** The home folder of the image's passwd, or `/`. */
  readonly home: string;
}

interface PasswdEntry {
  readonly name: string;
  readonly uid: string;
  readonly gid: string;
  readonly home: string;
}

/**
 * Resolves the user. Text made of digits is always an id and never a name (CVE-2026-46680), and
 * the primary group is always one of the supplemental groups, so that access denied to a group
 * cannot be had by leaving it (CVE-2023-25173).
 *
 * @throws HuskError `invalid-argument` for ids out of range and names that the image does not have
 */
export function resolveUser(request: User, files: UserFiles): ProcessUser {
  const { who, groupText } = splitUser(request.user);
  const entry = findUser(who, files);
  const uid = entry === undefined ? parseId('user', who) : parseId('user', entry.uid);
  const gid = groupText === undefined ? primaryGroup(entry) : resolveGroup(groupText, files);
  const fromImage = request.strictGroups || entry === undefined ? [] : memberships(entry.name, files.group ?? '');
  const supplementalGroups = [...new Set([gid, ...fromImage, ...request.supplementalGroups.map(checkGroup)])];
  return { uid, gid, supplementalGroups, home: homeOf(entry) };
}

/** HOME is set from the passwd file when the environment has none or an empty one, as runC does. */
export function withHome(env: readonly string[], home: string): string[] {
  const own = env.findLast((entry) => entry.startsWith('HOME='));
  return own === undefined || own === 'HOME=' ? [...env, `HOME=${home}`] : [...env];
}

function splitUser(text: string): { readonly who: string; readonly groupText: string | undefined } {
  const [who = '', groupText, ...more] = text.split(':');
  const bad =
    more.length > 0 || groupText === '' || (who === '' && groupText !== undefined) || /[\0-\x1f\x7f]/.test(text);
  if (bad) throw invalid('user', text, 'wanted "<user>" or "<user>:<group>"');
  return { who: who === '' ? '0' : who, groupText };
}

function findUser(who: string, files: UserFiles): PasswdEntry | undefined {
  const numeric = isNumber(who);
  if (numeric) parseId('user', who);
  for (const line of (files.passwd ?? '').split('\n')) {
    const [name = '', , uid = '', gid = '', , home = ''] = line.split(':');
    if (name !== '' && (numeric ? uid === who : name === who)) return { name, uid, gid, home };
  }
  if (numeric) return undefined;
  throw invalid('user', who, 'the image\'s "/etc/passwd" has no such name');
}

function primaryGroup(entry: PasswdEntry | undefined): number {
  return entry === undefined ? 0 : parseId('group', entry.gid);
}

function resolveGroup(text: string, files: UserFiles): number {
  if (isNumber(text)) return parseId('group', text);
  for (const line of (files.group ?? '').split('\n')) {
    const [name, , gid = ''] = line.split(':');
    if (name === text) return parseId('group', gid);
  }
  throw invalid('group', text, 'the image\'s "/etc/group" has no such name');
}

function memberships(user: string, group: string): number[] {
  const gids: number[] = [];
  for (const line of group.split('\n')) {
    const [, , gid = '', members = ''] = line.split(':');
    if (members.split(',').includes(user)) gids.push(parseId('group', gid));
  }
  return gids;
}

function homeOf(entry: PasswdEntry | undefined): string {
  const home = entry?.home ?? '';
  // A control character would let the image write lines into what is made of the environment (CVE-2022-4318).
  return home.startsWith('/') && !/[\0-\x1f\x7f]/.test(home) ? home : '/';
}

function isNumber(text: string): boolean {
  return /^[0-9]+$/.test(text);
}

function parseId(kind: 'user' | 'group', text: string): number {
  const value = /^(0|[1-9][0-9]{0,9})$/.test(text) ? Number(text) : Number.NaN;
  if (value <= maxId) return value;
  throw invalid(kind, text, `wanted a decimal number from 0 to ${maxId}`);
}

function checkGroup(gid: number): number {
  return parseId('group', String(gid));
}

function invalid(kind: string, text: string, why: string): HuskError {
  return new HuskError('invalid-argument', `resolve the ${kind} "${text.slice(0, 64)}": ${why}`);
}
