/** Ethernet frames byte by byte, right and wrong ones, for the network tests. Pure. */
import { addressBits } from '../../src/network/pod-interface.ts';

export const broadcast = 'ff:ff:ff:ff:ff:ff';

/** The bytes of a MAC address. */
export function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

/** The bytes of an IP address. */
export function ipBytes(ip: string): Buffer {
  return Buffer.from(
    addressBits(ip)
      .toString(16)
      .padStart(ip.includes(':') ? 32 : 8, '0'),
    'hex',
  );
}

function u16(...values: number[]): Buffer {
  return Buffer.from(values.flatMap((value) => [value >> 8, value & 255]));
}

/** The Internet checksum (RFC 1071). */
function checksum(data: Buffer): number {
  let sum = 0;
  for (let at = 0; at < data.length; at += 2) sum += ((data[at] ?? 0) << 8) | (data[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export interface Ends {
  readonly from: string;
  readonly to: string;
}

/** A frame, padded to the least length of Ethernet. */
export function ethernet(macs: Ends, type: number, payload: Buffer): Buffer {
  const frame = Buffer.concat([macBytes(macs.to), macBytes(macs.from), u16(type), payload]);
  return Buffer.concat([frame, Buffer.alloc(Math.max(0, 60 - frame.length))]);
}

/** The body of an ARP message; `operation` 1 asks, 2 answers. */
export function arp(
  operation: 1 | 2,
  sender: { mac: string; ip: string },
  target: { mac: string; ip: string },
): Buffer {
  const header = u16(1, 0x0800, 0x0604, operation);
  return Buffer.concat([header, macBytes(sender.mac), ipBytes(sender.ip), macBytes(target.mac), ipBytes(target.ip)]);
}

/** An IPv4 packet. */
export function ipv4(ips: Ends, protocol: number, payload: Buffer): Buffer {
  const header = Buffer.concat([
    u16(0x4500, 20 + payload.length, 0, 0x4000),
    Buffer.from([64, protocol, 0, 0]),
    ipBytes(ips.from),
    ipBytes(ips.to),
  ]);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, payload]);
}

/** An IPv6 packet; `next` is the header that follows. */
export function ipv6(ips: Ends, next: number, payload: Buffer, hops = 255): Buffer {
  const start = Buffer.concat([Buffer.from([0x60, 0, 0, 0]), u16(payload.length), Buffer.from([next, hops])]);
  return Buffer.concat([start, ipBytes(ips.from), ipBytes(ips.to), payload]);
}

/** An ICMP echo request that carries its number twice. */
export function icmpEcho(number: number): Buffer {
  const body = Buffer.concat([Buffer.from([8, 0, 0, 0]), u16(0x4855, number), Buffer.alloc(32, number & 255)]);
  body.writeUInt16BE(checksum(body), 2);
  return body;
}

/** An ICMPv6 message with its checksum, which covers the addresses. */
export function icmpv6(ips: Ends, type: number, body: Buffer): Buffer {
  const message = Buffer.concat([Buffer.from([type, 0, 0, 0]), body]);
  const pseudo = Buffer.concat([ipBytes(ips.from), ipBytes(ips.to), u16(0, message.length, 0, 58)]);
  message.writeUInt16BE(checksum(Buffer.concat([pseudo, message])), 2);
  return message;
}
