/** Where a registry may send us, and who may see a password. Pure, so that every case is one line of a table. */
import { isIP } from 'node:net';

/** How near an address is: `loopback` and `link-local` reach services that a registry has no business with. */
export type AddressClass = 'loopback' | 'link-local' | 'other';

/** Classifies an IP address in text form; IPv4 inside IPv6 counts as IPv4. */
export function classifyAddress(address: string): AddressClass {
  const plain = address
    .replace(/^\[|\]$/g, '')
    .replace(/%.*$/, '')
    .toLowerCase();
  const mapped = /^(?:::ffff:|::|64:ff9b::)(\d+\.\d+\.\d+\.\d+)$/.exec(plain)?.[1] ?? unmapHex(plain);
  const v4 = mapped ?? (isIP(plain) === 4 ? plain : undefined);
  if (v4 !== undefined) {
    if (/^(127|0)\./.test(v4)) return 'loopback';
    return v4.startsWith('169.254.') ? 'link-local' : 'other';
  }
  if (plain === '::1' || plain === '::') return 'loopback';
  // fe80::/10 is link-local; fd00:ec2::254 is the metadata service of a cloud.
  return /^fe[89ab][0-9a-f]:/.test(plain) || plain === 'fd00:ec2::254' ? 'link-local' : 'other';
}

function unmapHex(address: string): string | undefined {
  const groups = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(address);
  if (groups === null) return undefined;
  const [high, low] = [Number.parseInt(groups[1] ?? '', 16), Number.parseInt(groups[2] ?? '', 16)];
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

/** Whether a host name (without port) is this machine by its name or address alone. */
export function isLoopbackHost(hostname: string): boolean {
  const plain = hostname.replace(/^\[|\]$/g, '').toLowerCase();
  if (plain === 'localhost' || plain.endsWith('.localhost')) return true;
  return isIP(plain) !== 0 && classifyAddress(plain) === 'loopback';
}

/** Which address classes a connection may reach. */
export interface Reach {
  readonly loopback: boolean;
  readonly linkLocal: boolean;
}

/** Whether an address may be connected to. */
export function mayReach(reach: Reach, address: string): boolean {
  const nearness = classifyAddress(address);
  if (nearness === 'loopback') return reach.loopback;
  return nearness === 'other' || reach.linkLocal;
}

/** Two-label suffixes under which strangers register names; a shared one proves nothing. */
const sharedSuffixes: ReadonlySet<string> = new Set([
  'amazonaws.com',
  'appspot.com',
  'azurewebsites.net',
  'cloudapp.net',
  'cloudfront.net',
  'github.io',
  'gitlab.io',
  'googleapis.com',
  'herokuapp.com',
  'netlify.app',
  'ngrok.io',
  'onrender.com',
  'pages.dev',
  'run.app',
  'vercel.app',
  'windows.net',
  'workers.dev',
]);

/**
 * Whether two host names are plainly of one owner: equal, or below one registrable domain.
 * There is no public suffix list here, so a doubtful suffix counts as different owners.
 */
export function isSameOwner(a: string, b: string): boolean {
  const [left, right] = [a.toLowerCase(), b.toLowerCase()];
  if (left === right) return true;
  if (isIP(left) !== 0 || isIP(right) !== 0 || left.includes(':') || right.includes(':')) return false;
  const [la, lb] = [left.split('.'), right.split('.')];
  const suffix = la.slice(-2).join('.');
  if (la.length < 2 || lb.length < 2 || suffix !== lb.slice(-2).join('.')) return false;
  // co.uk, com.au, ac.jp: a short second level below a country code.
  if (/^(?:[a-z]{2,3}|gouv|info)\.[a-z]{2}$/.test(suffix)) {
    return la.length >= 3 && lb.length >= 3 && la.at(-3) === lb.at(-3);
  }
  return !sharedSuffixes.has(suffix);
}

/** Why a redirect is not followed, or undefined when it may be. */
export function redirectProblem(from: URL, to: URL, reach: Reach): string | undefined {
  if (to.protocol !== 'https:' && to.protocol !== 'http:') return `scheme "${to.protocol}" is not HTTP`;
  if (from.protocol === 'https:' && to.protocol === 'http:') return 'it leads from https to http';
  if (to.username !== '' || to.password !== '') return 'it carries credentials';
  const literal = to.hostname.replace(/^\[|\]$/g, '');
  if (isLoopbackHost(literal) && !reach.loopback) return `"${to.hostname}" is this machine`;
  if (isIP(literal) !== 0 && !mayReach(reach, literal)) return `"${to.hostname}" is a link-local address`;
  return undefined;
}

/** The token server a registry named, judged. */
export type RealmVerdict = 'with-credentials' | 'without-credentials' | 'refused';

/**
 * Whether the token server that a registry names may see the pull's credentials
 * (CVE-2020-15157: containerd once sent them to any).
 *
 * @param trusted host names (with port, if any) that the operator vouches for
 */
export function judgeRealm(registry: URL, realm: URL, trusted: readonly string[]): RealmVerdict {
  const sameHost = realm.host === registry.host;
  if (realm.protocol === 'http:') {
    if (registry.protocol !== 'http:') return 'refused';
    return sameHost ? 'with-credentials' : 'without-credentials';
  }
  if (realm.protocol !== 'https:' || realm.username !== '' || realm.password !== '') return 'refused';
  const vouched = trusted.includes(realm.host) || isSameOwner(registry.hostname, realm.hostname);
  return vouched ? 'with-credentials' : 'without-credentials';
}
