/** Which key a host is to show: OpenSSH's known_hosts format (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT). Pure. */
import { createHmac, timingSafeEqual } from 'node:crypto';

/**
 * Whether the text knows this key for this host.
 *
 * @param key as it comes over the wire
 * @returns `unknown`: the host is not in there with a key of this type; `different`: with another key
 */
export function judgeHostKey(
  text: string,
  host: { readonly name: string; readonly port: number },
  key: Buffer,
): 'known' | 'unknown' | 'different' {
  const wanted = host.port === 22 ? host.name : `[${host.name}]:${host.port}`;
  const type = key.subarray(4, 4 + key.readUInt32BE(0)).toString();
  let seen: 'unknown' | 'different' = 'unknown';
  for (const line of text.split('\n')) {
    const fields = line.trim().split(/\s+/);
    const marker = fields[0]?.startsWith('@') ? fields.shift() : undefined;
    const [hosts = '', lineType, base64 = ''] = fields;
    if (lineType !== type || !hosts.split(',').some((pattern) => matches(pattern, wanted))) continue;
    const same = key.equals(Buffer.from(base64, 'base64'));
    if (marker === '@revoked' && same) return 'different';
    if (marker !== undefined) continue;
    if (same) return 'known';
    seen = 'different';
  }
  return seen;
}

/** Names as they are, and hashed ones; patterns with wildcards are not for a machine that we measure on. */
function matches(pattern: string, wanted: string): boolean {
  const hashed = /^\|1\|([^|]+)\|([^|]+)$/.exec(pattern);
  if (hashed === null) return pattern === wanted;
  const [salt, hash] = [hashed[1], hashed[2]].map((part) => Buffer.from(part ?? '', 'base64'));
  const own = createHmac('sha1', salt ?? '')
    .update(wanted)
    .digest();
  return hash?.length === own.length && timingSafeEqual(hash, own);
}
