/**
 * The nftables rules that join a pod's tap with its interface, and let out only what is the
 * pod's own. Pure. Both ways are redirects at ingress of the netdev family, so that nothing a guest
 * sends ever reaches the host's IP stack in the namespace. docs/adr tells why not tc.
 */
import { HuskError } from '../../base/errors.ts';
import { linkLocal } from '../../base/link-local.ts';
import { asMatch } from '../../base/shape.ts';
import { asCidr } from '../cni/result.ts';
import { addressBits } from '../pod-interface.ts';

/** What of a pod's interface the rules need. */
export interface Joint {
  readonly interfaceName: string;
  readonly tapName: string;
  readonly mac: string;
  /** CIDR notation; the prefix lengths do not matter. */
  readonly addresses: readonly string[];
}

/**
 * `fresh` fails where a ruleset stands already; `replace` takes its place in one transaction, but
 * waits until no processor uses the old rules any more (15 ms and more).
 */
export type RulesetMode = 'fresh' | 'replace';

/**
 * The ruleset, for `nft -f -`: one transaction.
 *
 * Let out: frames from the pod's MAC that carry ARP of the pod's MAC and addresses, IPv4 from
 * the pod's addresses, IPv6 from the pod's addresses and the link-local one of its MAC.
 * Refused and counted: all else, among it frames with a VLAN tag, IPv6 router advertisements and
 * redirects (CVE-2020-10749), neighbour advertisements for others, and DHCP servers' replies.
 *
 * @throws HuskError `invalid-argument` for a name, MAC or address that is none
 */
export function tapRuleset(joint: Joint, mode: RulesetMode): string {
  const name = (text: string): string => asMatch(text, 'interface name', /^[a-zA-Z0-9._-]{1,15}$/, 'an interface name');
  const [tap, out] = [name(joint.tapName), name(joint.interfaceName)];
  const mac = asMatch(joint.mac, 'mac', /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/, 'a MAC address');
  const ips = joint.addresses.map((address) => asCidr(address, 'address').split('/')[0] ?? '');
  if (ips.length === 0) throw new HuskError('invalid-argument', 'join tap: found no address, wanted one or more');
  const start = mode === 'fresh' ? 'create table netdev husk' : 'table netdev husk\ndelete table netdev husk';
  const ipv4 = ips.filter((ip) => !ip.includes(':'));
  const ipv6 = ips.filter((ip) => ip.includes(':'));
  return `${start}
table netdev husk {
  counter let_out { }
  counter let_in { }
  counter refused { }
  chain refuse {
    counter name refused drop
  }
  chain let_out {
    counter name let_out fwd to "${out}"
  }
  chain from_guest {
    type filter hook ingress device "${tap}" priority 0; policy drop;
    ether saddr != ${mac} goto refuse
${indent([...(ipv4.length > 0 ? ipv4Rules(mac, ipv4) : []), ...(ipv6.length > 0 ? ipv6Rules(mac, ipv6) : [])])}
    goto refuse
  }
  chain to_guest {
    type filter hook ingress device "${out}" priority 0; policy drop;
    counter name let_in fwd to "${tap}"
  }
}
`;
}

/** `ether type` reads the frame itself, so that a VLAN tag is seen even when the kernel has taken it off. */
function ipv4Rules(mac: string, ips: readonly string[]): string[] {
  const own = ips.join(', ');
  return [
    // 0.0.0.0 is the sender of a probe for a duplicate address (RFC 5227).
    `ether type arp arp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp saddr ether ${mac} arp saddr ip { 0.0.0.0, ${own} } goto let_out`,
    'ether type ip udp sport 67 goto refuse',
    `ether type ip ip saddr { ${own} } goto let_out`,
  ];
}

function ipv6Rules(mac: string, ips: readonly string[]): string[] {
  const own = [...ips, linkLocal(mac)];
  return [
    'ether type ip6 icmpv6 type { nd-router-advert, nd-redirect } goto refuse',
    'ether type ip6 udp sport 547 goto refuse',
    // The address that is advertised stands 8 bytes into the message (RFC 4861, section 4.4).
    ...own.map(
      (ip) =>
        `ether type ip6 ip6 saddr { ${own.join(', ')} } icmpv6 type nd-neighbor-advert @th,64,128 ${hex(ip)} goto let_out`,
    ),
    'ether type ip6 icmpv6 type nd-neighbor-advert goto refuse',
    `ether type ip6 ip6 saddr { ${own.join(', ')} } goto let_out`,
    // The search for duplicates, and the groups joined for it, come from no address yet (RFC 4862, RFC 3590).
    'ether type ip6 ip6 saddr :: icmpv6 type { nd-neighbor-solicit, mld2-listener-report } goto let_out',
  ];
}

function hex(ip: string): string {
  return `0x${addressBits(ip).toString(16).padStart(32, '0')}`;
}

function indent(rules: readonly string[]): string {
  return rules.map((rule) => `    ${rule}`).join('\n');
}
